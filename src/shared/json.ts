/** Told why a value cannot be kept; throws. */
type RefuseJson = (reason: string) => never

/** A reason, on its way to the caller's own error. */
class Unkeepable extends Error {}

/** Deeper values are refused: every reader of the text would need as much stack. */
const depthLimit = 1000
const remedies: Readonly<Record<string, string>> = {
  Map: 'use Object.fromEntries(map)',
  Set: 'use [...set]',
  RegExp: 'use its source and flags as texts',
  Error: 'use its message',
  WeakMap: 'use a plain object'
}

/**
 * Copies a value that JSON keeps as it is: null, booleans, texts, finite numbers, lists and plain objects of them. A member that is undefined
 * is left out. What has a `toJSON`, such as a date, is kept as what that says.
 *
 * JSON.stringify drops or changes the rest without an error: a Map becomes `{}`, NaN becomes null, a function is left out.
 *
 * @param refuse told what cannot be kept, and what to do instead; the reason shows no contents
 */
export function copyJson (value: unknown, refuse: RefuseJson): unknown {
  try {
    return copy(value, '', new Set())
  } catch (error) {
    return refuse(error instanceof Unkeepable ? error.message : 'a getter or toJSON in it failed')
  }
}

function copy (value: unknown, name: string, parents: Set<object>): unknown {
  const said = spoken(value, name)
  if (said === null || typeof said === 'string' || typeof said === 'boolean') return said
  // JSON writes -0 as 0.
  if (typeof said === 'number') return Number.isFinite(said) ? said + 0 : unkeepable(`JSON has no ${said}: check the number, or use null or a text`)
  if (typeof said !== 'object') return unkeepable(said === undefined ? 'JSON has no undefined: delete the value, or use null' : `JSON has no ${typeof said}${typeof said === 'bigint' ? ': use String(value)' : ''}`)
  if (parents.has(said)) return unkeepable('it contains itself')
  if (parents.size === depthLimit) return unkeepable(`it is nested deeper than ${depthLimit} levels`)
  parents.add(said)
  const copied = Array.isArray(said) ? copyList(said, parents) : copyObject(said, parents)
  parents.delete(said)
  return copied
}

/** What JSON.stringify would write in place of a value. */
function spoken (value: unknown, name: string): unknown {
  if (value === null || (typeof value !== 'object' && typeof value !== 'bigint')) return value
  if (ArrayBuffer.isView(value)) return unkeepable('it holds bytes: use a text, such as Buffer.from(bytes).toString(\'base64\')')
  const { toJSON } = value as { toJSON?: unknown }
  if (typeof toJSON !== 'function') return value
  const said: unknown = toJSON.call(value, name)
  return said ?? unkeepable(`the toJSON of its ${classOf(value)} says nothing, as that of an invalid date`)
}

function copyList (list: readonly unknown[], parents: Set<object>): unknown[] {
  if (!isPlain(Object.getPrototypeOf(list) as object)) return unkeepable(`it holds a ${classOf(list)}, of which JSON keeps the elements alone: use [...list]`)
  const copied: unknown[] = []
  for (let index = 0; index < list.length; index++) {
    if (list[index] === undefined) return unkeepable('a list in it has an element that is undefined: use null, or leave it out')
    copied.push(copy(list[index], String(index), parents))
  }
  return Object.keys(list).length === list.length && !hasSymbols(list) ? copied : unkeepable('a list in it has named members, which JSON leaves out: use a plain object, or [...list]')
}

function copyObject (value: object, parents: Set<object>): object {
  if (typeof (value as { then?: unknown }).then === 'function') return unkeepable('it holds a promise: await it first')
  if (!isPlain(value)) return unkeepable(`it holds a ${classOf(value)}, which JSON does not keep: ${remedies[classOf(value)] ?? 'use a plain object with what is to be kept'}`)
  if (hasSymbols(value)) return unkeepable('it has a member named by a symbol, which JSON leaves out: use a text as its name')
  const entries = Object.entries(value).filter(([, member]) => member !== undefined)
  return Object.fromEntries(entries.map(([name, member]) => [name, copy(member, name, parents)]))
}

function hasSymbols (value: object): boolean {
  return Object.getOwnPropertySymbols(value).some((symbol) => Object.prototype.propertyIsEnumerable.call(value, symbol))
}

/** An object without a class: of this realm or another, or without a prototype. */
function isPlain (value: object): boolean {
  const prototype = Object.getPrototypeOf(value) as object | null
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

function classOf (value: object | bigint): string {
  if (value instanceof Error) return 'Error'
  const { constructor } = Object(value) as { constructor?: unknown }
  return typeof constructor === 'function' && constructor.name !== '' ? constructor.name : 'object of a class'
}

function unkeepable (reason: string): never {
  throw new Unkeepable(reason)
}
