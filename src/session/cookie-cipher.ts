import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { TwoGenerationLru } from '../shared/lru.ts'
import type { Keys } from '../redis/keys.ts'
import { idBytes, makeToken } from './session-token.ts'
import type { SessionToken } from './session-token.ts'

/** A ticket as it came in a cookie. */
export interface OpenedCookie {
  readonly token: SessionToken
  /** sealed with a secret that is not the newest */
  readonly isSealedWithOldKey: boolean
}

interface SealKey { id: string, key: Buffer }

const ivBytes = 12
const tagBytes = 16
/** The first byte says whose ticket it is, and whether a second id follows the first. */
const userBit = 1
const earlierBit = 2
const birthBytes = 6
const openedLimit = 10_000
const form = /^v1\.([\w-]{8})\.([\w-]{74,2000})$/

/**
 * Seals tickets into cookie values and opens them: `v1.<key id>.<AES-256-GCM of who and 160 random bits>`.
 *
 * Version, key id and the cookie's name are bound in, so that a value works under its own name alone, and whatever was changed on it is refused
 * without asking Redis. Opening costs as much as a bare request: the last 10,000 are kept, by their whole value.
 */
export class CookieCipher {
  readonly #name: string
  readonly #keys: Keys
  readonly #sealKeys: readonly SealKey[]
  readonly #opened = new TwoGenerationLru<string, OpenedCookie>(openedLimit)

  /**
   * @param name the cookie's, prefix included
   * @param secrets newest first
   */
  constructor (name: string, secrets: readonly string[], keys: Keys) {
    this.#name = name
    this.#keys = keys
    this.#sealKeys = secrets.map(deriveKey)
  }

  /** The cookie value that holds a ticket. */
  encrypt ({ id, userId, subject, previousId, createdAt }: SessionToken): string {
    const [{ id: keyId, key }] = this.#sealKeys as [SealKey]
    const iv = randomBytes(ivBytes)
    const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(this.#bound(keyId))
    const mark = (userId === undefined ? 0 : userBit) | (previousId === undefined ? 0 : earlierBit)
    const birth = Buffer.alloc(birthBytes)
    birth.writeUIntBE(createdAt, 0, birthBytes)
    const plain = Buffer.concat([Buffer.of(mark), birth, Buffer.from(id, 'base64url'), Buffer.from(previousId?.id ?? '', 'base64url'), Buffer.from(subject)])
    return `v1.${keyId}.${Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()]).toString('base64url')}`
  }

  /** The ticket in a cookie value; undefined when we did not seal it, or not so. */
  decrypt (value: string): OpenedCookie | undefined {
    const known = this.#opened.get(value)
    if (known !== undefined) return known
    const opened = this.#open(value)
    if (opened !== undefined) this.#opened.set(value, opened)
    return opened
  }

  /** Lets an opened value go: its session has ended or has a new id. */
  forget (value: string): void {
    this.#opened.delete(value)
  }

  #open (value: string): OpenedCookie | undefined {
    const [, keyId, sealed] = form.exec(value) ?? []
    const index = this.#sealKeys.findIndex(({ id }) => id === keyId)
    const sealKey = this.#sealKeys[index]
    if (sealKey === undefined || sealed === undefined) return undefined
    const bytes = Buffer.from(sealed, 'base64url')
    // base64url reads `QQ` and `QR` alike: of many spellings one is ours.
    const plain = bytes.toString('base64url') === sealed ? this.#decipher(sealKey, bytes) : undefined
    return plain && { token: this.#ticketOf(plain), isSealedWithOldKey: index > 0 }
  }

  #decipher ({ id, key }: SealKey, bytes: Buffer): Buffer | undefined {
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, ivBytes), { authTagLength: tagBytes })
    decipher.setAAD(this.#bound(id)).setAuthTag(bytes.subarray(-tagBytes))
    try {
      return Buffer.concat([decipher.update(bytes.subarray(ivBytes, -tagBytes)), decipher.final()])
    } catch { // the tag does not fit: forged
      return undefined
    }
  }

  #ticketOf (plain: Buffer): SessionToken {
    const mark = plain[0] ?? 0
    const ids = mark & earlierBit ? 2 : 1
    const partAt = (index: number) => plain.subarray(1 + birthBytes + idBytes * index, 1 + birthBytes + idBytes * (index + 1)).toString('base64url')
    const subject = plain.subarray(1 + birthBytes + idBytes * ids).toString()
    const bearer = { userId: mark & userBit ? subject : undefined, subject }
    return makeToken(this.#keys, bearer, { bornAt: plain.readUIntBE(1, birthBytes), id: partAt(0), earlier: ids === 2 ? partAt(1) : undefined })
  }

  #bound (keyId: string): Buffer {
    return Buffer.from(`v1.${keyId}.${this.#name}`)
  }
}

function deriveKey (secret: string): SealKey {
  const bytes = Buffer.from(hkdfSync('sha256', secret, 'fastify-prism', 'session cookie', 38))
  return { id: bytes.subarray(32).toString('base64url'), key: bytes.subarray(0, 32) }
}
