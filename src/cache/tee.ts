import { pipeline, Transform } from 'node:stream'

/**
 * Lets a stream pass, and gathers what passes, up to a size. The client's pace is its own: gathering takes no time of it.
 *
 * @param onEnd called once: with the whole body after a clean end; with undefined when it was larger, cut, or nobody wanted it to the end
 */
export function tee (source: NodeJS.ReadableStream, maxBytes: number, onEnd: (body: Buffer | undefined) => void): Transform {
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
          onEnd(undefined)
        }
      }
      done(null, chunk)
    }
  })
  // pipeline ends both when either fails, and speaks once.
  pipeline(source, passing, (error) => {
    if (chunks === undefined) return
    onEnd(error == null ? Buffer.concat(chunks) : undefined)
    chunks = undefined
  })
  return passing
}
