import { Histogram } from '../../shared/histogram.ts'

/** Counters of one command of this process's client; of `evalsha` there is one for each script. */
class CommandCounter {
  readonly command: string
  /** name of the Lua script; '' for a plain command */
  readonly script: string
  /** replies with an error, and missing replies at the deadline */
  errors = 0
  /** time from the write to the reply, or to the deadline */
  readonly durations = new Histogram()

  /** @param name `get`, or `evalsha consume` for a script */
  constructor (name: string) {
    [this.command = name, this.script = ''] = name.split(' ')
  }
}

/** Bounds the number of series: an app can send any command with the batch. */
const mostCounters = 64

/** Counts the commands of a client by name. The names come from code, never from a request. */
export class CommandCounters {
  readonly #counters = new Map<string, CommandCounter>()

  count (name: string, seconds: number, hasFailed: boolean): void {
    const counter = this.#counters.get(name) ?? this.#add(name)
    counter.durations.observe(seconds)
    if (hasFailed) counter.errors += 1
  }

  get all (): readonly CommandCounter[] {
    return [...this.#counters.values()]
  }

  #add (name: string): CommandCounter {
    const shown = this.#counters.size < mostCounters ? name : 'other'
    const counter = this.#counters.get(shown) ?? new CommandCounter(shown)
    this.#counters.set(shown, counter)
    return counter
  }
}
