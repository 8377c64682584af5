import { EncodedCommand, encodeCommand } from './resp-encoder.ts'
import type { Argument, RespWriter } from './resp-encoder.ts'

/** What an ask gives a script. */
export interface ScriptArgs {
  readonly keys: readonly string[]
  readonly args: readonly Argument[]
}

/** Asks that follow each other and have as many keys and as many arguments. */
interface ArgGroup {
  readonly asks: readonly ScriptArgs[]
  /** where their arguments differ, from 0; the others are the same for all */
  readonly varyingArgs: readonly number[]
}

/**
 * Writes a script's call for many asks: how many keys, the keys of all, the shapes; then for each run of asks that are alike the arguments that they
 * share, and each ask's own. Most asks of a tick differ in one key and nothing else.
 *
 * @param text the script's, or its SHA-1
 */
export function encodeScriptCall (name: 'eval' | 'evalsha', text: string, asks: readonly ScriptArgs[]): EncodedCommand {
  const runs = groupsOf(asks)
  const keys = asks.reduce((sum, { keys }) => sum + keys.length, 0)
  const shapes = runs.map(groupHeader).join('')
  const bytes = encodeCommand((packet) => {
    packet.add(name)
    packet.add(text)
    packet.addNumber(keys)
    for (const { keys } of asks) for (const key of keys) packet.add(key)
    packet.add(shapes)
    for (const run of runs) addArguments(packet, run)
  })
  return new EncodedCommand(name, asks[0]?.keys[0] ?? '', bytes)
}

function addArguments (packet: RespWriter, { asks, varyingArgs }: ArgGroup): void {
  const [{ args: first }] = asks as [ScriptArgs]
  for (let index = 0; index < first.length; index++) if (!varyingArgs.includes(index)) packet.add(first[index] ?? '')
  if (varyingArgs.length > 0) for (const { args } of asks) for (const index of varyingArgs) packet.add(args[index] ?? '')
}

/** A run as a script reads it: 'asks keys arguments places;', places from 1. */
function groupHeader ({ asks, varyingArgs }: ArgGroup): string {
  return `${asks.length} ${asks[0]?.keys.length} ${asks[0]?.args.length} ${varyingArgs.map((index) => index + 1).join()};`
}

function groupsOf (asks: readonly ScriptArgs[]): ArgGroup[] {
  const runs: ArgGroup[] = []
  for (let start = 0, end = 0; start < asks.length; start = end) {
    const first = asks[start] as ScriptArgs
    while (end < asks.length && isAlike(first, asks[end] as ScriptArgs)) end++
    const run = start === 0 && end === asks.length ? asks : asks.slice(start, end)
    runs.push({ asks: run, varyingArgs: varyingArgsOf(run, first.args) })
  }
  return runs
}

function varyingArgsOf (asks: readonly ScriptArgs[], first: ScriptArgs['args']): number[] {
  const places: number[] = []
  for (let index = 0; index < first.length; index++) if (!isSame(asks, first, index)) places.push(index)
  return places
}

/** Many have not only the same arguments, but the same list of them. */
function isSame (asks: readonly ScriptArgs[], first: ScriptArgs['args'], index: number): boolean {
  for (const { args } of asks) if (args !== first && args[index] !== first[index]) return false
  return true
}

function isAlike (one: ScriptArgs, other: ScriptArgs): boolean {
  return one.keys.length === other.keys.length && one.args.length === other.args.length
}
