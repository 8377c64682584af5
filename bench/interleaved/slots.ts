import { median } from './statistics.ts'

/** What a contestant did in one slot: operations, and CPU microseconds of its process and of its Redis server. */
export interface Slot { readonly operations: number, readonly cpuMicroseconds: number, readonly redisMicroseconds: number, readonly milliseconds: number }

/** A process under test that works only during its slots. */
export interface Contestant {
  readonly name: string
  /** works for this time, completes what it has begun, and returns its measurements */
  runSlot (ms: number): Promise<Slot>
}

/** The slots of each contestant, by name. */
export type Slots = ReadonlyMap<string, Slot[]>

/** How long contestants are warmed up: until figures are steady, and at most `longest` rounds. */
export interface WarmUp { readonly slotMs: number, readonly longest: number }

/** Slots that are compared with as many before them. */
const steadySlots = 6
const steadyDifference = 0.04

/**
 * Runs rounds of one slot for each contestant, in random order, so that a machine whose speed changes treats all alike.
 *
 * No contestant has two slots in a row: the pause before each slot is then similar for all.
 */
export async function runRounds (contestants: readonly Contestant[], rounds: number, slotMs: number, onRound: (done: number) => void = () => {}): Promise<Slots> {
  const slots = slotsFor(contestants)
  let last: Contestant | undefined
  for (let round = 0; round < rounds; round++) {
    last = await runRound(contestants, slotMs, slots, last)
    onRound(round + 1)
  }
  return slots
}

/**
 * Runs rounds until each contestant's figures are steady: the median CPU of its last six slots differs from that of the six before by at most 4 %.
 *
 * @returns the number of rounds, and the contestants that are not steady
 */
export async function warmUp (contestants: readonly Contestant[], { slotMs, longest }: WarmUp): Promise<{ rounds: number, unsteady: string[] }> {
  const slots = slotsFor(contestants)
  let rounds = 0
  let last: Contestant | undefined
  for (; rounds < longest && unsteadyOf(slots).length > 0; rounds++) last = await runRound(contestants, slotMs, slots, last)
  return { rounds, unsteady: unsteadyOf(slots) }
}

function slotsFor (contestants: readonly Contestant[]): Slots {
  return new Map(contestants.map(({ name }) => [name, []]))
}

async function runRound (contestants: readonly Contestant[], slotMs: number, slots: Slots, last: Contestant | undefined): Promise<Contestant | undefined> {
  const order = shuffled(contestants)
  if (order.length > 1 && order[0] === last) order.push(...order.splice(0, 1))
  for (const contestant of order) slots.get(contestant.name)?.push(await contestant.runSlot(slotMs))
  return order.at(-1)
}

function shuffled<Item> (items: readonly Item[]): Item[] {
  return items.map((item) => ({ item, at: Math.random() })).sort((one, other) => one.at - other.at).map(({ item }) => item)
}

function unsteadyOf (slots: Slots): string[] {
  return [...slots].filter(([, each]) => !isSteady(each)).map(([name]) => name)
}

function isSteady (slots: readonly Slot[]): boolean {
  if (slots.length < 2 * steadySlots) return false
  const late = costOf(slots.slice(-steadySlots))
  const early = costOf(slots.slice(-2 * steadySlots, -steadySlots))
  return Math.abs(late / early - 1) <= steadyDifference
}

function costOf (slots: readonly Slot[]): number {
  return median(slots.map(({ cpuMicroseconds, operations }) => cpuMicroseconds / operations))
}
