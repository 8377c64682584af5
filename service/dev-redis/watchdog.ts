/**
 * The process between the service and a Redis server: it starts the server, prints its pid, and reads a pipe that only the service holds.
 * When the pipe ends, for any reason, it kills the server and removes its folder; when the server ends by itself, so does the watchdog.
 * It uses SIGKILL (the server stores nothing on disk), so that a stopped or hung server ends too.
 */

const shell = `
folder=$1; shift
"$@" </dev/null 3<&- & server=$!
echo "$server"
{ read -r _; kill -9 "$server"; rm -rf "$folder"; } <&3 2>/dev/null & reader=$!
exec 3<&-
wait "$server" 2>/dev/null; code=$?
kill "$reader" 2>/dev/null
rm -rf "$folder"
exit "$code"
`

const node = `
const { spawn } = require('node:child_process')
const [folder, program, ...args] = process.argv.slice(1)
const server = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'], windowsHide: true })
const end = code => { require('node:fs').rmSync(folder, { recursive: true, force: true, maxRetries: 5 }); process.exit(code) }
server.on('error', error => { console.error(error.message); end(127) })
server.on('exit', code => end(code ?? 1))
console.log(server.pid)
process.stdin.resume().on('error', () => {}).on('close', () => server.kill('SIGKILL'))
`

/**
 * The command line of a watchdog for one server.
 *
 * @param folder the server's own folder, removed at the end
 * @param command the server's program and its arguments
 * @param platform Windows has no `sh`: there a small Node program does the same
 * @returns the watchdog's program and arguments; its stdin is the pipe, its first line of output the server's pid
 */
export function guard (folder: string, command: readonly string[], platform: NodeJS.Platform = process.platform): [program: string, args: string[]] {
  if (platform === 'win32') return [process.execPath, ['-e', node, '--', folder, ...command]]
  return ['/bin/sh', ['-c', `exec 3<&0\n${shell}`, 'redis-guard', folder, ...command]]
}
