import { cpus } from 'node:os'

/** Measures which share of the processors' time was idle since the last call. */
export class IdleShare {
  #last = sum()

  read () {
    const now = sum()
    const all = now.all - this.#last.all
    const share = all > 0 ? (now.idle - this.#last.idle) / all : 0
    this.#last = now
    return share
  }
}

function sum () {
  const times = cpus().map(cpu => cpu.times)
  const idle = times.reduce((total, each) => total + each.idle, 0)
  return { idle, all: times.reduce((total, { user, nice, sys, idle, irq }) => total + user + nice + sys + idle + irq, 0) }
}
