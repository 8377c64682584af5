import { pipeline, Transform } from 'node:stream'

/** What became of a stream: its whole body, or why there is none: it was `large`, or `cut`, also by nobody wanting it to the end. */
export type Gathered = Buffer | 'large' | 'cut'

/**
 * Lets a stream pass, and gathers what passes, up to a size. The client's pace is its own: gathering takes no time of it.
 *
 * @param onEnd called once
 */
export function tee (source: NodeJS.ReadableStream, maxBytes: number, onEnd: (gathered: Gathered) => void): Transform {
  let chunks: Buffer[] | undefined = []
  let bytes = 0
  const passing = new Transform({
    transform (chunk: Buffer | string, encoding, done) {
      if (chunks !== undefined) {
        const buffer = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk
        bytes += buffer.length
        if (bytes <= maxBytes) chunks.push(buffer)
        else {
          chunks = undefined
          onEnd('large')
        }
      }
      done(null, chunk)
    }
  })
  // pipeline ends both when either fails, and speaks once.
  pipeline(source, passing, (error) => {
    if (chunks === undefined) return
    onEnd(error == null ? Buffer.concat(chunks) : 'cut')
    chunks = undefined
  })
  return passing
}
