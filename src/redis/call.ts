import { Packet, writePacket } from './packet.ts'
import type { Argument, PacketWriter } from './packet.ts'

/** What an ask gives a script. */
export interface Given {
  readonly keys: readonly string[]
  readonly args: readonly Argument[]
}

/** Asks that follow each other and have as many keys and as many arguments. */
interface Run {
  readonly asks: readonly Given[]
  /** where their arguments differ, from 0; the others are the same for all */
  readonly places: readonly number[]
}

/**
 * Writes a script's call for many asks: how many keys, the keys of all, the shapes; then for each run of asks that are alike the arguments that they
 * share, and each ask's own. Most asks of a tick differ in one key and nothing else.
 *
 * @param text the script's, or its SHA-1
 */
export function writeCall (name: 'eval' | 'evalsha', text: string, asks: readonly Given[]): Packet {
  const runs = runsOf(asks)
  const keys = asks.reduce((sum, { keys }) => sum + keys.length, 0)
  const shapes = runs.map(shapeOf).join('')
  const bytes = writePacket((packet) => {
    packet.add(name)
    packet.add(text)
    packet.addNumber(keys)
    for (const { keys } of asks) for (const key of keys) packet.add(key)
    packet.add(shapes)
    for (const run of runs) addArguments(packet, run)
  })
  return new Packet(name, asks[0]?.keys[0] ?? '', bytes)
}

function addArguments (packet: PacketWriter, { asks, places }: Run): void {
  const [{ args: first }] = asks as [Given]
  for (let index = 0; index < first.length; index++) if (!places.includes(index)) packet.add(first[index] ?? '')
  if (places.length > 0) for (const { args } of asks) for (const index of places) packet.add(args[index] ?? '')
}

/** A run as a script reads it: 'asks keys arguments places;', places from 1. */
function shapeOf ({ asks, places }: Run): string {
  return `${asks.length} ${asks[0]?.keys.length} ${asks[0]?.args.length} ${places.map((index) => index + 1).join()};`
}

function runsOf (asks: readonly Given[]): Run[] {
  const runs: Run[] = []
  for (let start = 0, end = 0; start < asks.length; start = end) {
    const first = asks[start] as Given
    while (end < asks.length && isAlike(first, asks[end] as Given)) end++
    const run = start === 0 && end === asks.length ? asks : asks.slice(start, end)
    runs.push({ asks: run, places: placesOf(run, first.args) })
  }
  return runs
}

function placesOf (asks: readonly Given[], first: Given['args']): number[] {
  const places: number[] = []
  for (let index = 0; index < first.length; index++) if (!isSame(asks, first, index)) places.push(index)
  return places
}

/** Many have not only the same arguments, but the same list of them. */
function isSame (asks: readonly Given[], first: Given['args'], index: number): boolean {
  for (const { args } of asks) if (args !== first && args[index] !== first[index]) return false
  return true
}

function isAlike (one: Given, other: Given): boolean {
  return one.keys.length === other.keys.length && one.args.length === other.args.length
}
