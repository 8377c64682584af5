import { AsyncLocalStorage } from 'node:async_hooks'
import type { ReadListener } from './read-listener.ts'

/** Holds the tracker of a run until it ends: a connection that the handler opens keeps the store for as long as it lives. */
export interface RunningTracker { tracker: ReadListener | undefined }

const running = new AsyncLocalStorage<RunningTracker>()

/** Code that is called from here on, and what it starts, belongs to the run of a tracker. */
export function enterRun (tracker: ReadListener): RunningTracker {
  const store: RunningTracker = { tracker }
  running.enterWith(store)
  return store
}

/** The tracker of the run that calls this. */
export function runningTracker (): ReadListener | undefined {
  return running.getStore()?.tracker
}
