import { accessSync, constants, existsSync, readdirSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { RedisServerMissingError } from '../errors.ts'

/** A Redis server program and its additional environment. */
export interface RedisServerBinary {
  /** absolute path, or the value of REDIS_SERVER_BIN */
  path: string
  /** `LD_LIBRARY_PATH` if the libraries were unpacked with the program */
  env: Record<string, string>
}

/** Locations of the search; each has a default. */
interface RedisServerSearch {
  /** environment with REDIS_SERVER_BIN and PATH */
  env?: Record<string, string | undefined>
  /** folder into which set-up unpacked a server */
  unpacked?: string
}

const programs = ['redis-server', 'valkey-server']

/**
 * Finds a Redis server program: REDIS_SERVER_BIN, then `redis-server` or `valkey-server` on PATH, then the server that set-up unpacked to `.redis/`.
 *
 * @throws {RedisServerMissingError} PRISM_ERR_REDIS_SERVER_MISSING, with what to install or which variable to set
 */
export function findRedisServer ({ env = process.env, unpacked = unpackedFolder() }: RedisServerSearch = {}): RedisServerBinary {
  if (env.REDIS_SERVER_BIN) return named(env.REDIS_SERVER_BIN)
  const found = onPath(env.PATH ?? '') ?? unpackedServer(unpacked)
  if (!found) throw new RedisServerMissingError('There is no redis-server or valkey-server on PATH.')
  return found
}

/** The project folder into which set-up unpacks a server, `.redis/server`. */
function unpackedFolder (): string {
  return join(import.meta.dirname, '..', '..', '.redis', 'server')
}

/** The server unpacked from Debian packages into a folder, with its libraries; undefined if the folder contains none. */
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
  } catch { // no such file, or not executable: the search continues
    return false
  }
}
