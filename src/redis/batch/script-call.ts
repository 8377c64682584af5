import type { Argument, RespWriter } from './resp-encoder.ts'

/** Keys and arguments of one operation. */
export interface ScriptArgs {
  readonly keys: readonly string[]
  readonly args: readonly Argument[]
}

/** Consecutive operations with the same number of keys and of arguments. */
interface ArgGroup {
  readonly operations: readonly ScriptArgs[]
  /** indices (from 0) of the arguments that differ; the others are equal in all operations */
  readonly varyingArgs: readonly number[]
}

/**
 * Adds one call for many operations: number of keys, all keys, the group headers; then for each group its shared arguments and each operation's own
 * arguments. Most operations of a tick differ in one key only.
 *
 * @param text the script's text, or its SHA-1
 */
export function addScriptCall (writer: RespWriter, name: 'eval' | 'evalsha', text: string, operations: readonly ScriptArgs[]): void {
  const groups = groupsOf(operations)
  let keyCount = 0
  for (const { keys } of operations) keyCount += keys.length
  writer.add(name)
  writer.add(text)
  writer.addNumber(keyCount)
  for (const { keys } of operations) for (const key of keys) writer.add(key)
  writer.add(groups.map(groupHeader).join(''))
  for (const group of groups) addArguments(writer, group)
}

function addArguments (writer: RespWriter, { operations, varyingArgs }: ArgGroup): void {
  const [{ args: first }] = operations as [ScriptArgs]
  for (let index = 0; index < first.length; index++) if (varyingArgs.length === 0 || !varyingArgs.includes(index)) writer.add(first[index] ?? '')
  if (varyingArgs.length > 0) for (const { args } of operations) for (const index of varyingArgs) writer.add(args[index] ?? '')
}

/** The header of a group: 'operations keys arguments indices;', indices from 1. */
function groupHeader ({ operations, varyingArgs }: ArgGroup): string {
  return `${operations.length} ${operations[0]?.keys.length} ${operations[0]?.args.length} ${varyingArgs.map((index) => index + 1).join()};`
}

function groupsOf (operations: readonly ScriptArgs[]): ArgGroup[] {
  const groups: ArgGroup[] = []
  for (let start = 0, end = 0; start < operations.length; start = end) {
    const first = operations[start] as ScriptArgs
    while (end < operations.length && isAlike(first, operations[end] as ScriptArgs)) end++
    const group = start === 0 && end === operations.length ? operations : operations.slice(start, end)
    groups.push({ operations: group, varyingArgs: varyingArgsOf(group, first.args) })
  }
  return groups
}

function varyingArgsOf (operations: readonly ScriptArgs[], first: ScriptArgs['args']): number[] {
  const indices: number[] = []
  if (operations.length === 1) return indices
  for (let index = 0; index < first.length; index++) if (!isSame(operations, first, index)) indices.push(index)
  return indices
}

/** Compares the arrays first: many operations share one. */
function isSame (operations: readonly ScriptArgs[], first: ScriptArgs['args'], index: number): boolean {
  for (const { args } of operations) if (args !== first && args[index] !== first[index]) return false
  return true
}

function isAlike (one: ScriptArgs, other: ScriptArgs): boolean {
  return one.keys.length === other.keys.length && one.args.length === other.args.length
}
