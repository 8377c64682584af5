import { randomBytes, scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto'
import { PasswordQueueFullError } from '../errors.ts'
import { WorkQueue } from './work-queue.ts'

// 32 MiB and about a tenth of a second per hash: N = 2^15, r = 8, p = 3 is one of OWASP's recommended settings.
const cost = { ln: 15, r: 8, p: 3 }
const saltBytes = 16
const hashBytes = 32
const format = /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([\w+/]+)\$([\w+/]+)$/

/**
 * Hashes a password with scrypt and a random salt, as a PHC string: `$scrypt$ln=15,r=8,p=3$salt$hash`.
 *
 * @throws {PasswordQueueFullError} PRISM_ERR_PASSWORD_QUEUE_FULL if it would wait too long
 */
export async function hashPassword (password: string): Promise<string> {
  const salt = randomBytes(saltBytes)
  const hash = await derive(password, salt, cost)
  return `$scrypt$ln=${cost.ln},r=${cost.r},p=${cost.p}$${unpadded(salt)}$${unpadded(hash)}`
}

/**
 * Verifies a password.
 *
 * Without a hash (the name is unknown) it does the same work and returns false, so that the duration does not reveal which names exist.
 *
 * @throws {PasswordQueueFullError} PRISM_ERR_PASSWORD_QUEUE_FULL if it would wait too long
 */
export async function verifyPassword (password: string, hashed: string | undefined): Promise<boolean> {
  const { salt, hash, ...parameters } = parsed(hashed ?? unknownUserHash)
  const derived = await derive(password, salt, parameters)
  return derived.length === hash.length && timingSafeEqual(derived, hash) && hashed !== undefined
}

const unknownUserHash = `$scrypt$ln=${cost.ln},r=${cost.r},p=${cost.p}$${unpadded(randomBytes(saltBytes))}$${unpadded(randomBytes(hashBytes))}`

function parsed (hashed: string) {
  const [, ln, r, p, salt = '', hash = ''] = format.exec(hashed) ?? []
  return { ln: Number(ln), r: Number(r), p: Number(p), salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') }
}

// Keyboards send a password composed or decomposed (RFC 8265 section 4.2: NFC).
function derive (password: string, salt: Buffer, { ln, r, p }: typeof cost): Promise<Buffer> {
  const N = 2 ** ln
  const options: ScryptOptions = { N, r, p, maxmem: 256 * N * r }
  return queue.run(() => new Promise((resolve, reject) => {
    scrypt(password.normalize('NFC'), salt, hashBytes, options, (error, key) => error ? reject(error) : resolve(key))
  }))
}

// A hash occupies one of libuv's four threads, which also resolve the address of Redis for a reconnect: two stay free.
const queue = new WorkQueue({ atOnce: 2, maxWaitMs: 2000, assumedMs: 100, full: (seconds) => new PasswordQueueFullError(seconds) })

function unpadded (bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '')
}
