import fc from 'fast-check'
import { Command } from 'ioredis'
import t from 'tap'
import { EncodedCommand, encodeCommands } from '../../../../src/redis/batch/resp-encoder.ts'
import type { Argument } from '../../../../src/redis/batch/resp-encoder.ts'

function written (name: string, args: readonly Argument[]): Buffer {
  return Buffer.from(encodeCommands([(writer) => {
    writer.add(name)
    for (const arg of args) writer.add(arg)
  }]))
}

t.test('encoder writes the same bytes as ioredis, for any arguments', (t) => {
  const argument = fc.oneof(fc.string({ unit: 'binary', maxLength: 40 }), fc.string({ unit: 'grapheme', maxLength: 20 }), fc.integer(), fc.double({ noNaN: true }), fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)))

  fc.assert(fc.property(fc.array(argument, { maxLength: 20 }), (args) => {
    const theirs = Buffer.from(new Command('set', args, { replyEncoding: null }).toWritable({}))
    return written('set', args).equals(theirs)
  }))

  t.pass('same bytes')
  t.end()
})

t.test('encoder finds the slot of a command by its key, and reports nothing else of it', (t) => {
  const encoded = new EncodedCommand('get', 'key', written('get', ['key']))

  t.equal(encoded.getSlot(), 12539)
  t.same(encoded.args, [])
  t.equal(String(encoded.toWritable()), '*2\r\n$3\r\nget\r\n$3\r\nkey\r\n')
  t.end()
})
