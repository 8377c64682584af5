/** Makes text of the bytes in a reply, however deep; numbers, nothing and errors stay what they are. */
export function textOf (reply: unknown): unknown {
  if (Buffer.isBuffer(reply)) return reply.toString()
  return Array.isArray(reply) ? reply.map(textOf) : reply
}
