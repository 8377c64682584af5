/** Digests of a body: `Content-Digest` and `Repr-Digest` (RFC 9530), and the obsolete `Digest` and `Content-MD5`. Names in lower case. */
export const digestHeaders = ['content-digest', 'repr-digest', 'digest', 'content-md5'] as const

/** Removes the digests of a body that is sent encoded, in part or not at all: a client would compare them with other bytes. */
export function removeDigests (reply: { removeHeader (name: string): unknown }): void {
  for (const name of digestHeaders) reply.removeHeader(name)
}
