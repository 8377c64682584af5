import { integerOf, latin1, word } from '../arguments.ts'
import { command, many } from '../call.ts'
import type { Call, Command } from '../call.ts'
import { runScript } from '../lua-engine.ts'
import { bulk, ErrorReply, ok } from '../reply.ts'
import type { Reply } from '../reply.ts'

function evaluate (call: Call, text: Buffer): Reply {
  const { args, run } = call
  const count = integerOf(args[1])
  if (count > args.length - 2) throw new ErrorReply("ERR Number of keys can't be greater than number of args")
  if (count < 0) throw new ErrorReply("ERR Number of keys can't be negative")
  return runScript(text, args.slice(2, 2 + count), args.slice(2 + count), (command) => run(command, true))
}

function evaluateSha1 (call: Call): Reply {
  const text = call.server.script(latin1(call.args[0]))
  if (text === undefined) throw new ErrorReply('NOSCRIPT No matching script. Please use EVAL.')
  return evaluate(call, text)
}

function script ({ args, server }: Call): Reply {
  const subcommand = word(args[0])
  if (subcommand === 'LOAD' && args[1] !== undefined) return bulk(server.addScript(args[1]))
  if (subcommand === 'EXISTS') return args.slice(1).map((sha1) => Number(server.script(latin1(sha1)) !== undefined))
  if (subcommand !== 'FLUSH') throw new ErrorReply(`ERR unknown subcommand or wrong number of arguments for '${latin1(args[0])}'. Try SCRIPT HELP.`)
  server.clearScripts()
  return ok
}

const ofClients = { isForScripts: false }

export const scripting: Readonly<Record<string, Command>> = {
  eval: command(2, many, (call) => {
    call.server.addScript(call.args[0] as Buffer)
    return evaluate(call, call.args[0] as Buffer)
  }, ofClients),
  evalsha: command(2, many, evaluateSha1, ofClients),
  script: command(1, many, script, ofClients)
}
