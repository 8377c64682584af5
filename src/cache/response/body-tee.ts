import { pipeline, Transform } from 'node:stream'
import { discardPayload } from '../../http/payload.ts'

/** Result of a tee: the complete body; `large`, it exceeded the limit; `failed`, the stream failed; or `cut`, its consumer stopped reading. */
export type TeeResult = Buffer | 'large' | 'failed' | 'cut'

/** Callbacks of {@link tee}. */
interface TeeListener {
  /** called at the first read: the reply's headers are final */
  onStart (): void
  /** called once */
  onEnd (result: TeeResult): void
}

/**
 * Passes a stream through and collects a copy of its body, up to `maxBytes`. Reads the source only as the consumer reads: backpressure is preserved.
 *
 * @param length the `Content-Length` of the body: a consumer that has it all may stop before the source ends
 */
export function tee (source: NodeJS.ReadableStream, maxBytes: number, listener: TeeListener, length?: number): Transform {
  let chunks: Buffer[] | undefined = []
  let bytes = 0
  let isStarted = false
  let hasFailed = false
  const end = (error?: Error | null) => {
    if (chunks === undefined) return
    const isWhole = error == null || (!hasFailed && bytes === length)
    listener.onEnd(isWhole ? Buffer.concat(chunks) : hasFailed ? 'failed' : 'cut')
    chunks = undefined
  }
  const output: Transform = new Transform({
    transform (chunk: Buffer | string, encoding, done) {
      if (chunks !== undefined) {
        const buffer = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk
        bytes += buffer.length
        if (bytes <= maxBytes) chunks.push(buffer)
        else {
          chunks = undefined
          listener.onEnd('large')
        }
      }
      done(null, chunk)
    },
    // Runs only when the source has ended without an error.
    flush (done) {
      end()
      done()
    },
    read (size) {
      if (!isStarted) {
        isStarted = true
        listener.onStart()
        // pipeline destroys both streams when either fails.
        pipeline(source, output, end)
      }
      Transform.prototype._read.call(output, size)
    },
    destroy (error, done) {
      if (!isStarted) {
        isStarted = true
        discardPayload(source)
        end(error ?? new Error('Response stream closed before it was read'))
      }
      done(error)
    }
  })
  source.on('error', (error) => {
    hasFailed ||= !output.destroyed
    output.destroy(error)
  })
  // The source may fail before Fastify adds its error listener. Fastify detects the destroyed stream later.
  output.on('error', () => {})
  return output
}
