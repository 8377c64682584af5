import { pipeline, Transform } from 'node:stream'
import { discardPayload } from '../../http/payload.ts'

/** What became of a stream: its whole body, or why there is none: it was `large`, or `cut`, also by nobody wanting it to the end. */
export type TeeResult = Buffer | 'large' | 'cut'

/** Who hears of a stream that passes. */
export interface TeeListener {
  /** the first of it is asked for: whatever the reply still had to say, it has said */
  onStart (): void
  /** called once */
  onEnd (gathered: TeeResult): void
}

/** Lets a stream pass, and gathers what passes, up to a size. The client's pace is its own: gathering takes no time of it, and nothing is taken before it asks. */
export function tee (source: NodeJS.ReadableStream, maxBytes: number, hearer: TeeListener): Transform {
  let chunks: Buffer[] | undefined = []
  let bytes = 0
  let isStarted = false
  const end = (error?: Error | null) => {
    if (chunks === undefined) return
    hearer.onEnd(error == null ? Buffer.concat(chunks) : 'cut')
    chunks = undefined
  }
  const passing: Transform = new Transform({
    transform (chunk: Buffer | string, encoding, done) {
      if (chunks !== undefined) {
        const buffer = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk
        bytes += buffer.length
        if (bytes <= maxBytes) chunks.push(buffer)
        else {
          chunks = undefined
          hearer.onEnd('large')
        }
      }
      done(null, chunk)
    },
    // The source has ended well, and nothing has looked at the reply since.
    flush (done) {
      end()
      done()
    },
    read (size) {
      if (!isStarted) {
        isStarted = true
        hearer.onStart()
        // pipeline ends both when either fails.
        pipeline(source, passing, end)
      }
      Transform.prototype._read.call(passing, size)
    },
    destroy (error, done) {
      if (!isStarted) {
        isStarted = true
        discardPayload(source)
        end(error ?? new Error('nobody wants it'))
      }
      done(error)
    }
  })
  source.on('error', (error) => passing.destroy(error))
  // It may fail before the reply listens, which hears of it nevertheless.
  passing.on('error', () => {})
  return passing
}
