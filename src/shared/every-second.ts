const everyMs = 1000
const listeners = new Set<() => void>()
let timer: NodeJS.Timeout | undefined

/**
 * Calls a listener every second, all of a process in one turn of the event loop: an idle process wakes up once for them. It does not keep the process running.
 *
 * @returns stops it
 */
export function everySecond (listener: () => void): () => void {
  listeners.add(listener)
  timer ??= setInterval(callAll, everyMs).unref()
  return () => {
    listeners.delete(listener)
    if (listeners.size > 0) return
    clearInterval(timer)
    timer = undefined
  }
}

function callAll (): void {
  for (const listener of listeners) listener()
}
