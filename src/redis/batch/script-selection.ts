/** Commands of other callers wait at most for this many calls. */
const callsPerRound = 8
const clusterCallsPerRound = 64

/** How {@link selectByScript} calls its script. */
export interface ScriptSelection<Item> {
  /** the keys of one call must share a slot, so each item has a call of its own */
  readonly isCluster: boolean
  /** items that a call can process within its time on Redis */
  readonly itemsPerCall: number
  /** calls the script; resolves with the indices, from 1, of the selected items */
  readonly run: (items: readonly Item[]) => Promise<readonly number[]>
}

/**
 * Runs a script over many items, many in one call, and returns those that it selects. Items that Redis did not reply for are not among them.
 *
 * One operation for each item costs this process more than Redis needs for it.
 */
export async function selectByScript<Item> (items: readonly Item[], { isCluster, itemsPerCall, run }: ScriptSelection<Item>): Promise<Item[]> {
  const [perCall, perRound] = isCluster ? [1, clusterCallsPerRound] : [itemsPerCall, callsPerRound]
  const calls = Array.from({ length: Math.ceil(items.length / perCall) }, (_, index) => items.slice(index * perCall, (index + 1) * perCall))
  const selected: Item[] = []
  for (let start = 0; start < calls.length; start += perRound) {
    const round = calls.slice(start, start + perRound)
    const replies = await Promise.allSettled(round.map(run))
    replies.forEach((reply, index) => {
      if (reply.status === 'fulfilled') for (const place of reply.value) selected.push(round[index]?.[place - 1] as Item)
    })
  }
  return selected
}
