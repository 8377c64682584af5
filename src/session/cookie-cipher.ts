import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { TwoGenerationLru } from '../shared/lru.ts'
import type { Keys } from '../redis/keys.ts'
import { idBytes, makeToken } from './session-token.ts'
import type { SessionToken } from './session-token.ts'

/** A decrypted session cookie. */
interface OpenedCookie {
  readonly token: SessionToken
  /** encrypted with a secret other than the newest */
  readonly isSealedWithOldKey: boolean
}

interface CookieKey { id: string, key: Buffer }

const ivBytes = 12
const tagBytes = 16
/** Flags in the first byte: the subject is a user; a previous ID follows the ID. */
const userBit = 1
const previousIdBit = 2
const timeBytes = 6
const cacheLimit = 10_000
const valuePattern = /^v1\.([\w-]{8})\.([\w-]{74,2000})$/

/**
 * Encrypts session tokens into cookie values and decrypts them: `v1.<key id>.<AES-256-GCM ciphertext>`.
 *
 * Version, key ID and cookie name are authenticated as additional data: a value is valid under its own cookie name only, and a modified value
 * is rejected without a Redis request. Decryption costs about as much as an empty request, so 10,000 recent values are cached by their text.
 */
export class CookieCipher {
  readonly #name: string
  readonly #keys: Keys
  readonly #cookieKeys: readonly CookieKey[]
  readonly #opened = new TwoGenerationLru<string, OpenedCookie>(cacheLimit)

  /**
   * @param name cookie name, with its prefix
   * @param secrets newest first
   */
  constructor (name: string, secrets: readonly string[], keys: Keys) {
    this.#name = name
    this.#keys = keys
    this.#cookieKeys = secrets.map(deriveKey)
  }

  /** Encrypts a token into a cookie value. */
  encrypt ({ id, userId, subject, previousId, createdAt }: SessionToken): string {
    const [{ id: keyId, key }] = this.#cookieKeys as [CookieKey]
    const iv = randomBytes(ivBytes)
    const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(this.#associatedData(keyId))
    const flags = (userId === undefined ? 0 : userBit) | (previousId === undefined ? 0 : previousIdBit)
    const time = Buffer.alloc(timeBytes)
    time.writeUIntBE(createdAt, 0, timeBytes)
    const plain = Buffer.concat([Buffer.of(flags), time, Buffer.from(id, 'base64url'), Buffer.from(previousId?.id ?? '', 'base64url'), Buffer.from(subject)])
    return `v1.${keyId}.${Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()]).toString('base64url')}`
  }

  /** Decrypts a cookie value; undefined if it was not encrypted with one of the secrets, or was modified. */
  decrypt (value: string): OpenedCookie | undefined {
    const known = this.#opened.get(value)
    if (known !== undefined) return known
    const opened = this.#open(value)
    if (opened !== undefined) this.#opened.set(value, opened)
    return opened
  }

  /** Removes a value from the cache, when its session has ended or has a new ID. */
  forget (value: string): void {
    this.#opened.delete(value)
  }

  #open (value: string): OpenedCookie | undefined {
    const [, keyId, sealed] = valuePattern.exec(value) ?? []
    const index = this.#cookieKeys.findIndex(({ id }) => id === keyId)
    const cookieKey = this.#cookieKeys[index]
    if (cookieKey === undefined || sealed === undefined) return undefined
    const bytes = Buffer.from(sealed, 'base64url')
    // base64url decodes `QQ` and `QR` to the same bytes: only the canonical encoding is accepted.
    const plain = bytes.toString('base64url') === sealed ? this.#decipher(cookieKey, bytes) : undefined
    return plain && { token: this.#readToken(plain), isSealedWithOldKey: index > 0 }
  }

  #decipher ({ id, key }: CookieKey, bytes: Buffer): Buffer | undefined {
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, ivBytes), { authTagLength: tagBytes })
    decipher.setAAD(this.#associatedData(id)).setAuthTag(bytes.subarray(-tagBytes))
    try {
      return Buffer.concat([decipher.update(bytes.subarray(ivBytes, -tagBytes)), decipher.final()])
    } catch { // authentication tag mismatch: forged or modified
      return undefined
    }
  }

  #readToken (plain: Buffer): SessionToken {
    const flags = plain[0] ?? 0
    const ids = flags & previousIdBit ? 2 : 1
    const idAt = (index: number) => plain.subarray(1 + timeBytes + idBytes * index, 1 + timeBytes + idBytes * (index + 1)).toString('base64url')
    const subject = plain.subarray(1 + timeBytes + idBytes * ids).toString()
    const owner = { userId: flags & userBit ? subject : undefined, subject }
    return makeToken(this.#keys, owner, { createdAt: plain.readUIntBE(1, timeBytes), id: idAt(0), previousId: ids === 2 ? idAt(1) : undefined })
  }

  #associatedData (keyId: string): Buffer {
    return Buffer.from(`v1.${keyId}.${this.#name}`)
  }
}

function deriveKey (secret: string): CookieKey {
  const bytes = Buffer.from(hkdfSync('sha256', secret, 'fastify-prism', 'session cookie', 38))
  return { id: bytes.subarray(32).toString('base64url'), key: bytes.subarray(0, 32) }
}
