import { parseArgs } from 'node:util'

/** Options of all benches that `npm run bench` starts. */
export interface BenchOptions {
  /** what to measure: workloads, or names of benches */
  readonly names: readonly string[]
  readonly runs: number
  readonly slots: number
  readonly slotMs: number
  readonly longestWarmUp: number
  /** names of servers or peers; undefined: all */
  readonly servers: readonly string[] | undefined
  readonly also: readonly string[]
  readonly nodeFlags: readonly string[]
  readonly json: string
  readonly isHelp: boolean
}

/** @throws Error that names a wrong option */
export function readOptions (words: readonly string[]): BenchOptions {
  const { values, positionals } = parseArgs({
    args: [...words],
    allowPositionals: true,
    options: {
      runs: { type: 'string', default: '5' },
      slots: { type: 'string', default: '20' },
      'slot-ms': { type: 'string', default: '200' },
      'warm-up': { type: 'string', default: '60' },
      servers: { type: 'string' },
      also: { type: 'string', multiple: true, default: [] },
      'node-flags': { type: 'string', default: '' },
      json: { type: 'string', default: 'bench-result.json' },
      help: { type: 'boolean', short: 'h', default: false }
    }
  })
  return {
    names: positionals.flatMap(listOf),
    runs: numberOf('--runs', values.runs, 1),
    slots: numberOf('--slots', values.slots, 1),
    slotMs: numberOf('--slot-ms', values['slot-ms'], 20),
    longestWarmUp: numberOf('--warm-up', values['warm-up'], 0),
    servers: values.servers === undefined ? undefined : listOf(values.servers),
    also: values.also,
    nodeFlags: values['node-flags'].split(' ').filter((flag) => flag !== ''),
    json: values.json,
    isHelp: values.help
  }
}

function listOf (text: string): string[] {
  return text.split(',').filter((name) => name !== '')
}

function numberOf (name: string, text: string, least: number): number {
  const number = Number(text)
  if (!Number.isInteger(number) || number < least) throw new Error(`${name} takes a whole number of at least ${least}, got "${text}"`)
  return number
}
