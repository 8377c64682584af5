/** Prefix of the address of a master whose `run_id` is not known yet, in place of that. */
const unknown = '?'

/**
 * Whether two identities differ only in masters whose `run_id` was unknown before: as far as this process knows, the servers are the same.
 */
export function isCompleted (before: string, after: string): boolean {
  const [known, later] = [before.split(','), new Set(after.split(','))]
  return known.length === later.size && known.some(isUnknown) && known.every((runId) => isUnknown(runId) || later.has(runId))
}

function isUnknown (runId: string): boolean {
  return runId.startsWith(unknown)
}

/**
 * The joined `run_id` of a Cluster's masters, from all connections of this process. A master that does not reply keeps its last known `run_id`:
 * a missing reply does not mean another server.
 */
export class ClusterIdentity {
  /** last known, by address */
  readonly #runIds = new Map<string, string>()
  #current: readonly string[] = []

  /** @param masters `run_id` by address; undefined for a master that does not reply */
  join (masters: ReadonlyMap<string, string | undefined>): string {
    const found: string[] = []
    for (const [address, runId] of masters) {
      if (runId === undefined) continue
      this.#runIds.set(address, runId)
      found.push(runId)
    }
    // An outdated slot map may still list a master that a replica has replaced.
    const isUpdate = found.length === masters.size || found.some((runId) => !this.#current.includes(runId))
    if (isUpdate) this.#current = [...masters].map(([address, runId]) => runId ?? this.#runIds.get(address) ?? unknown + address).sort()
    return this.#current.join()
  }
}
