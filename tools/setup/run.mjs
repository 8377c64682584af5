import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { noteChild } from './lock.mjs'

/** A failure of the set-up, and its remedy. */
export class SetupError extends Error {
  constructor (message, advice) {
    super(message)
    this.advice = advice
  }
}

/** Prints what the set-up does. */
export function say (line) {
  console.log(`set-up: ${line}`)
}

const tickMs = 1_500

/**
 * Runs a program to its end and prints its progress every 1.5 s.
 *
 * @param options `cwd`, `env`, `advice` on a failure, `progress(output)` that turns the output so far into a line,
 * `pass(line)` for a program that prints its own progress: whether a line is printed; `isHopeless(output)`: whether to end it now as failed
 * @returns its output; @throws {SetupError} with its last lines if it fails
 */
export function run (program, args, { cwd, env = process.env, advice = '', progress, pass, isHopeless = () => false } = {}) {
  return new Promise((resolve, reject) => {
    const startedAt = Date.now()
    const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], shell: process.platform === 'win32' && program.endsWith('npm') })
    const forget = noteChild(child.pid)
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => { output += chunk })
    if (pass) createInterface(child.stdout).on('line', line => { if (pass(line)) say(line) })
    const timer = progress && setInterval(() => {
      say(`${progress(output)} (${((Date.now() - startedAt) / 1000).toFixed(0)} s)`)
      if (isHopeless(output)) child.kill()
    }, tickMs)
    const fail = reason => reject(new SetupError(`${[program, ...args].join(' ').slice(0, 160)} failed: ${reason}`, advice))
    child.once('error', error => {
      clearInterval(timer)
      forget()
      fail(error.message)
    })
    child.once('close', (code, signal) => {
      clearInterval(timer)
      forget()
      if (code === 0) resolve(output)
      else fail(`${signal ?? `exit code ${code}`}\n${lastWords(output)}`)
    })
  })
}

function lastWords (output) {
  return output.split('\n').filter(line => line.trim() && !/^npm (http|warn|verb)/.test(line)).slice(-12).join('\n')
}
