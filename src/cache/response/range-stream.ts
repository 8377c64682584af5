import { Transform } from 'node:stream'
import type { ByteRange } from '../../http/range.ts'

/**
 * Passes the bytes of a range of a stream on and drops the others.
 *
 * @param onClose called once, when the range was sent completely or its consumer stopped reading
 */
export function cutStream (source: NodeJS.ReadableStream, { first, last }: ByteRange, onClose: () => void): Transform {
  let at = 0
  const output = new Transform({
    transform (chunk: Buffer | string, encoding, done) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk
      const [from, to] = [Math.max(0, first - at), Math.min(bytes.length, last + 1 - at)]
      const wasOpen = at <= last
      at += bytes.length
      if (from < to) output.push(bytes.subarray(from, to))
      if (wasOpen && at > last) output.push(null)
      done()
    },
    flush (done) {
      done(at > last ? null : new Error('Response body is shorter than its Content-Length'))
    }
  })
  source.on('error', (error) => output.destroy(error))
  output.on('error', () => {}) // Fastify detects the destroyed stream
  output.once('end', () => output.destroy())
  output.once('close', onClose)
  source.pipe(output)
  return output
}
