/** The figures of one run: by what was measured, then by server. */
export type Figures = Record<string, Record<string, number>>

/** What the stack is measured against: ours ÷ peer within one run, and the target. */
const comparisons: readonly (readonly [title: string, figure: string, ours: string, peer: string, target: number])[] = [
  ['SSE, CPU a delivery, 200 B', 'CPU a delivery, 200 B', 'prism SSE', '@fastify/sse', 0.8],
  ['SSE, CPU a delivery, 2 KB', 'CPU a delivery, 2048 B', 'prism SSE', '@fastify/sse', 0.8],
  ['WebSocket, CPU a delivery, 200 B', 'CPU a delivery, 200 B', 'prism WebSocket', 'ws + ioredis', 1],
  ['WebSocket, CPU a delivery, 2 KB', 'CPU a delivery, 2048 B', 'prism WebSocket', 'ws + ioredis', 1],
  ['idle server, 500 topics', 'idle CPU a second', 'prism WebSocket', 'ws + ioredis', 1.5],
  ['500 topics, p50 at 500 events/s', 'p50, 500/s', 'prism WebSocket', 'ws + ioredis', 1.2],
  ['500 topics, p99 at 2,000 events/s', 'p99, 2000/s', 'prism WebSocket', 'ws + ioredis', 1.5],
  ['Redis CPU an event, 500/s', 'Redis CPU an event, 500/s', 'prism WebSocket', 'socket.io streams', 0.6],
  ['Redis CPU an event, 2,000/s', 'Redis CPU an event, 2000/s', 'prism WebSocket', 'socket.io streams', 0.6],
  ['WebSocket, heap a connection', 'heap a connection', 'prism WebSocket', 'ws + ioredis', 1.5],
  ['SSE, heap a connection', 'heap a connection', 'prism SSE', '@fastify/sse', 1.2],
  ['WebSocket with an own topic, heap', 'heap a connection with its topic', 'prism WebSocket', 'ws + ioredis', 1.5],
  ['SSE with an own topic, heap', 'heap a connection with its topic', 'prism SSE', '@fastify/sse', 1.2]
]

/** One run as a Markdown table, in the unit of each figure: µs, ms or bytes. */
export function tellRun (figures: Figures): string {
  const names = [...new Set(Object.values(figures).flatMap((each) => Object.keys(each)))]
  const lines = Object.entries(figures).map(([figure, byName]) => `| ${[figure, ...names.map((name) => format(byName[name]))].join(' | ')} |`)
  return [`| figure | ${names.join(' | ')} |`, `|---|${names.map(() => '---:|').join('')}`, ...lines].join('\n')
}

function format (value: number | undefined): string {
  if (value === undefined) return ''
  return value >= 100 ? String(Math.round(value)) : value.toFixed(2)
}

/** The median ratio of all runs, with the least and the greatest. */
export function ratios (runs: readonly Figures[]): string {
  const lines = comparisons.map(([title, figure, ours, peer, target]) => {
    const all = runs.map((run) => (run[figure]?.[ours] ?? NaN) / (run[figure]?.[peer] ?? NaN)).sort((one, other) => one - other)
    return `| ${title} ÷ ${peer} | ≤ ${target.toFixed(2)} | ${(all[all.length >> 1] ?? NaN).toFixed(2)} | ${(all[0] ?? NaN).toFixed(2)} to ${(all.at(-1) ?? NaN).toFixed(2)} |`
  })
  return ['| ours ÷ peer | target | median | runs |', '|---|---:|---:|---:|', ...lines].join('\n')
}
