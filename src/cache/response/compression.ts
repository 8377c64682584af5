import { promisify } from 'node:util'
import { brotliCompress, brotliDecompress, constants, gunzip, gzip } from 'node:zlib'
import type { Coding } from '../storage/entry-codec.ts'

const compressors = { gzip: promisify(gzip), br: promisify(brotliCompress) }
const decompressors = { gzip: promisify(gunzip), br: promisify(brotliDecompress) }

/** Bytes. Compression does not pay below this size. */
export const fewestBytes = 1024

const compressible = /^(?:text\/|application\/(?:[\w.-]+\+)?(?:json|xml)\b|application\/(?:javascript|ndjson|wasm)\b|image\/svg\+xml)/i

/** Whether a body may be stored compressed: large enough, a compressible type, not encoded yet, and without `no-transform` (RFC 9110 section 7.7). */
export function mayCompress (bytes: number, contentType: string | undefined, contentEncoding: string | undefined, isTransformable: boolean): boolean {
  return isTransformable && bytes >= fewestBytes && contentEncoding === undefined && compressible.test(contentType ?? '')
}

/** Compresses a body for storage. */
export async function compress (body: Buffer, coding: Exclude<Coding, 'identity'>): Promise<Buffer> {
  if (coding === 'gzip') return await compressors.gzip(body)
  return await compressors.br(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 5, [constants.BROTLI_PARAM_SIZE_HINT]: body.length } })
}

/** Decompresses a stored body, for clients that do not accept its coding. */
export async function decompress (body: Buffer, coding: Exclude<Coding, 'identity'>): Promise<Buffer> {
  return await decompressors[coding](body)
}

/** The entity tag of the encoded representation: a strong tag must differ for each coding (RFC 9110 section 8.8.3.3). */
export function codedTag (entityTag: string, coding: Coding): string {
  return coding === 'identity' || !entityTag.endsWith('"') ? entityTag : `${entityTag.slice(0, -1)}-${coding}"`
}
