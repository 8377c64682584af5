import type { Command } from '../call.ts'
import { collections } from './collections.ts'
import { connection } from './connection.ts'
import { expiry } from './expiry.ts'
import { hashes } from './hashes.ts'
import { keys } from './keys.ts'
import { scripting } from './scripting.ts'
import { server } from './server.ts'
import { sortedSets } from './sorted-sets.ts'
import { streams } from './streams.ts'
import { strings } from './strings.ts'
import { subscriptions } from './subscriptions.ts'
import { transactions } from './transactions.ts'

/** All commands of the in-memory server, by name. */
export const commands: ReadonlyMap<string, Command> = new Map(Object.entries({ ...strings, ...expiry, ...keys, ...hashes, ...sortedSets, ...streams, ...collections, ...subscriptions, ...transactions, ...scripting, ...connection, ...server }))
