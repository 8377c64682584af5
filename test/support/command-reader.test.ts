import fc from 'fast-check'
import t from 'tap'
import { CommandReader } from './command-reader.ts'

function encode (words: string[]): Buffer {
  const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`)
  return Buffer.from(`*${words.length}\r\n${parts.join('')}`)
}

t.test('a command reader counts by upper-case name, and ignores values that look like commands', async (t) => {
  const counts = new Map<string, number>()
  const reader = new CommandReader(counts)

  const names = reader.push(Buffer.concat([encode(['get', 'k']), encode(['SET', 'k', '*1\r\n$3\r\nDEL\r\n']), encode(['GET', '']), encode(['PING'])]))

  t.strictSame(names, ['GET', 'SET', 'GET', 'PING'])
  t.strictSame(Object.fromEntries(counts), { GET: 2, SET: 1, PING: 1 })
})

t.test('a command reader counts the same wherever chunks are cut', async () => {
  const commands = fc.array(fc.tuple(fc.constantFrom('GET', 'SET', 'EVALSHA', 'PING'), fc.array(fc.string({ unit: 'binary', maxLength: 20 }), { maxLength: 4 })), { maxLength: 10 })
  fc.assert(fc.property(commands, fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (commands, cuts) => {
    const bytes = Buffer.concat(commands.map(([name, values]) => encode([name, ...values])))
    const reader = new CommandReader(new Map())
    const names: string[] = []
    for (let at = 0, i = 0; at < bytes.length; i++) {
      const step = cuts[i % cuts.length] ?? 1
      names.push(...reader.push(bytes.subarray(at, at + step)))
      at += step
    }

    return JSON.stringify(names) === JSON.stringify(commands.map(([name]) => name))
  }))
})

t.test('a command reader stops at bytes that are not RESP', async (t) => {
  const counts = new Map<string, number>()
  const reader = new CommandReader(counts)

  reader.push(Buffer.from([0x16, 0x03, 0x01, 0x0a, 0x2a]))
  reader.push(encode(['PING']))

  t.equal(counts.size, 0)
})
