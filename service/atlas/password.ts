import { randomBytes, scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto'
import { PasswordQueueFullError } from '../errors.ts'
import { WorkQueue } from './work-queue.ts'

// 32 MiB and about a tenth of a second a hash: N = 2^15, r = 8, p = 3 is one of OWASP's equal choices.
const cost = { ln: 15, r: 8, p: 3 }
const saltBytes = 16
const hashBytes = 32
const format = /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([\w+/]+)\$([\w+/]+)$/

/**
 * Hashes a password with scrypt and a salt of its own, as a PHC string: `$scrypt$ln=15,r=8,p=3$salt$hash`.
 *
 * @throws {PasswordsFullError} PRISM_ERR_PASSWORD_QUEUE_FULL, where it would wait too long
 */
export async function hashPassword (password: string): Promise<string> {
  const salt = randomBytes(saltBytes)
  const hash = await derive(password, salt, cost)
  return `$scrypt$ln=${cost.ln},r=${cost.r},p=${cost.p}$${unpadded(salt)}$${unpadded(hash)}`
}

/**
 * Says whether a password is the one that was hashed.
 *
 * Without a hash (nobody has that name) it does the same work and says no, so that time does not tell which names exist.
 *
 * @throws {PasswordsFullError} PRISM_ERR_PASSWORD_QUEUE_FULL, where it would wait too long
 */
export async function verifyPassword (password: string, hashed: string | undefined): Promise<boolean> {
  const { salt, hash, ...kept } = parsed(hashed ?? nobody)
  const derived = await derive(password, salt, kept)
  return derived.length === hash.length && timingSafeEqual(derived, hash) && hashed !== undefined
}

const nobody = `$scrypt$ln=${cost.ln},r=${cost.r},p=${cost.p}$${unpadded(randomBytes(saltBytes))}$${unpadded(randomBytes(hashBytes))}`

function parsed (hashed: string) {
  const [, ln, r, p, salt = '', hash = ''] = format.exec(hashed) ?? []
  return { ln: Number(ln), r: Number(r), p: Number(p), salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') }
}

// One password typed on two keyboards may come composed or decomposed (RFC 8265 section 4.2: NFC).
function derive (password: string, salt: Buffer, { ln, r, p }: typeof cost): Promise<Buffer> {
  const N = 2 ** ln
  const options: ScryptOptions = { N, r, p, maxmem: 256 * N * r }
  return queue.run(() => new Promise((resolve, reject) => {
    scrypt(password.normalize('NFC'), salt, hashBytes, options, (error, key) => error ? reject(error) : resolve(key))
  }))
}

// A hash holds one of libuv's four threads, and those also look up the address of a Redis that must be reached anew: two stay free.
const queue = new WorkQueue({ atOnce: 2, maxWaitMs: 2000, assumedMs: 100, full: (seconds) => new PasswordQueueFullError(seconds) })

function unpadded (bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '')
}
