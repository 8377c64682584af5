import { accessSync, constants, existsSync, readdirSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { RedisServerMissingError } from '../../src/shared/errors.ts'

/** A Redis server program, and what its environment needs beside our own. */
export interface RedisServerBinary {
  /** Absolute path, or what REDIS_SERVER_BIN says. */
  path: string
  /** `LD_LIBRARY_PATH` where the libraries were unpacked beside the program. */
  env: Record<string, string>
}

/** Where a search for the server looks; each has a default. */
interface RedisServerSearch {
  /** The environment that holds REDIS_SERVER_BIN and PATH. */
  env?: Record<string, string | undefined>
  /** The folder that set-up unpacked a server into. */
  unpacked?: string
}

const programs = ['redis-server', 'valkey-server']

/**
 * Finds a Redis server program: REDIS_SERVER_BIN, then `redis-server` or `valkey-server` on PATH, then what set-up brought to `.redis/`.
 *
 * @throws {RedisServerMissingError} PRISM_ERR_REDIS_SERVER_MISSING, saying what to install or which variable to set
 */
export function findRedisServer ({ env = process.env, unpacked = unpackedFolder() }: RedisServerSearch = {}): RedisServerBinary {
  if (env.REDIS_SERVER_BIN) return named(env.REDIS_SERVER_BIN)
  const found = onPath(env.PATH ?? '') ?? unpackedServer(unpacked)
  if (!found) throw new RedisServerMissingError('There is no redis-server or valkey-server on PATH.')
  return found
}

/** The folder of the project that set-up unpacks a server into, `.redis/server`. */
function unpackedFolder (): string {
  return join(import.meta.dirname, '..', '..', '.redis', 'server')
}

/** The server unpacked from Debian packages below a folder, with its libraries; none when the folder holds none. */
function unpackedServer (folder: string): RedisServerBinary | undefined {
  const path = programs.map(program => join(folder, 'usr', 'bin', program)).find(isProgram)
  return path ? { path, env: libraryPath(folder) } : undefined
}

function named (path: string): RedisServerBinary {
  if (!isProgram(path)) throw new RedisServerMissingError('REDIS_SERVER_BIN names no program that can run.')
  return { path, env: {} }
}

function onPath (path: string): RedisServerBinary | undefined {
  const suffix = process.platform === 'win32' ? '.exe' : ''
  const folders = path.split(delimiter).filter(Boolean)
  const found = folders.flatMap(folder => programs.map(program => join(folder, program + suffix))).find(isProgram)
  return found ? { path: found, env: {} } : undefined
}

function libraryPath (folder: string): Record<string, string> {
  const folders = ['usr/lib', 'lib']
    .map(name => join(folder, name))
    .filter(name => existsSync(name))
    .flatMap(name => [name, ...readdirSync(name).map(entry => join(name, entry))])
    .filter(isFolder)
  return folders.length > 0 ? { LD_LIBRARY_PATH: folders.join(delimiter) } : {}
}

function isFolder (path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}

function isProgram (path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch { // no such file, or none that we may run: both mean "look on"
    return false
  }
}
