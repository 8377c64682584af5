import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)
export const root = join(import.meta.dirname, '../..')
export const limits = { timeout: 400_000, maxBuffer: 1 << 25 }

/** Builds and packs the package into a folder. @returns the path of the tarball */
export async function packPackage (folder: string): Promise<string> {
  const { stdout } = await npm(root, ['pack', '--json', '--pack-destination', folder])
  const [{ filename }] = JSON.parse(stdout.slice(stdout.search(/^\[/m))) as [{ filename: string }]
  return join(folder, filename)
}

/** The variables of this process, without the settings that npm gives to its scripts. */
export function withoutNpm (): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)))
}

/** Runs npm in a folder, without the settings that npm gives to its scripts. */
export async function npm (cwd: string, args: readonly string[], variables: Record<string, string> = {}): Promise<{ stdout: string, stderr: string }> {
  const env = { ...withoutNpm(), ...variables }
  const [program, first] = process.env.npm_execpath === undefined ? ['npm', []] : [process.execPath, [process.env.npm_execpath]]
  return await execute(program, [...first, ...args], { ...limits, cwd, env })
}

/** Installs from npm's cache where it has a package, else from the registry. */
export const installArgs = ['install', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', '--fetch-retries=1', '--fetch-timeout=15000']
