import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'

const largestGroup = 6
/** What changes, measures or ends its process, or starts others: such a file has a process of its own. */
const alone = [
  /process\.(?:env|argv|stdout|stderr|exit|kill|on|once|chdir|emit|cpuUsage|memoryUsage|getActive)/, /globalThis|\bgc\(|setFlagsFromString|Atomics|MaxListeners|Promise\.reject/,
  /diagnostics_channel|perf_hooks|registerHooks|capture\(|intercept|import\('/, /\bspawn|\bfork|Worker\(|chromium|startService|startListening|startCluster|startSentinels/
]
const rootTest = /^(?:t\.|tap\.)?test\(/m
/** A file that declares a timeout takes long. */
const otherRootCall = /^(?:t|tap)\.(?!test\(|end\()\w+/m

/** Files that can share a process, in groups; each other file is a group of its own. Loading what a file imports takes longer than most of its tests. */
export function groupsOf (files) {
  const shareable = new Map()
  const groups = []
  for (const file of files) {
    if (!isShareable(readFileSync(file, 'utf8'))) groups.push([file])
    else {
      const folder = dirname(file).split('/').slice(0, 2).join('/')
      const group = shareable.get(folder) ?? []
      group.push(file)
      if (group.length === 1) groups.push(group)
      shareable.set(folder, group.length === largestGroup ? undefined : group)
    }
  }
  return groups
}

function isShareable (source) {
  return rootTest.test(source) && !otherRootCall.test(source) && !alone.some(each => each.test(source))
}
