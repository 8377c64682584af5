/** Decodes the Buffers in a reply as UTF-8, recursively. Numbers, null and errors are not changed. */
export function textOf (reply: unknown): unknown {
  if (Buffer.isBuffer(reply)) return reply.toString()
  return Array.isArray(reply) ? reply.map(textOf) : reply
}
