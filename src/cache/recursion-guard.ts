import { AsyncLocalStorage } from 'node:async_hooks'
import { WrapRecursionError } from '../shared/errors.ts'

/** A run of a function, and the run in which it was started. */
interface Frame {
  readonly key: string
  readonly outer: Frame | undefined
  isRunning: boolean
}

/** Rejects a call that would wait for the run that it is part of. */
export class RecursionGuard {
  readonly #frames = new AsyncLocalStorage<Frame>()

  /**
   * Call before a call waits.
   *
   * @param key of the run that it would wait for
   * @param name for the error
   * @throws {WrapRecursionError} PRISM_ERR_WRAP_RECURSION
   */
  check (key: string, name: string): void {
    for (let frame = this.#frames.getStore(); frame !== undefined; frame = frame.outer) {
      // What a finished run has left behind, such as a timer, may call again.
      if (frame.key === key && frame.isRunning) throw new WrapRecursionError(name)
    }
  }

  /** Runs the function of a key. */
  async run<Value> (key: string, make: () => Value | Promise<Value>): Promise<Value> {
    const frame = { key, outer: this.#frames.getStore(), isRunning: true }
    try {
      return await this.#frames.run(frame, make)
    } finally {
      frame.isRunning = false
    }
  }
}
