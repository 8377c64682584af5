import { Parser } from 'tap-parser'

const none = 'no tests found'

/** Counts tests, and records those that failed. */
export class Count {
  passed = 0
  failed = 0
  skipped = 0
  #complaints = []

  /** Counts the results of a file and its process; false if any of them failed. */
  add ({ file, said, code, signal }) {
    const failedBefore = this.failed
    const parser = new Parser()
    const seen = this.#watch(parser, [file])
    parser.end(said)
    const { ok, plan } = parser.results
    const hasEndedWell = code === 0 && signal === null
    const skip = hasEndedWell && plan.skipAll && (plan.skipReason || none)
    this.#judge({ ok: ok && hasEndedWell, skip, diag: undefined }, seen, [file])
    return this.failed === failedBefore
  }

  /** As `add`; prints a line for the file, and its output if any of its tests failed. */
  addAndPrint (ended) {
    const isFine = this.add(ended)
    const { file, said, complained, ms } = ended
    console.log(`${isFine ? 'ok' : 'not ok'} - ${file} # time=${Math.round(ms)}ms`)
    if (!isFine) console.log(said + complained)
  }

  complain (what) {
    this.failed++
    this.#complaints.push(what)
  }

  /** Prints the failures and the closing line, and sets the exit code. */
  close () {
    if (this.passed + this.failed === 0) this.complain('no test ran')
    for (const complaint of this.#complaints) console.log(`not ok: ${complaint}`)
    if (this.skipped > 0) console.log(`${this.skipped} skipped`)
    console.log(`${this.passed} passed, ${this.failed} failed`)
    process.exitCode = this.failed > 0 ? 1 : 0
  }

  // A test is a subtest without subtests; a file without subtests is one. A failure around its tests (a teardown, a timeout) counts as one more.
  #watch (parser, titles) {
    const seen = { asserts: 0, skips: 0, subtests: 0, failed: 0, reason: '' }
    let child
    parser.on('child', sub => { child = this.#watch(sub, [...titles, sub.name]) })
    parser.on('plan', plan => { seen.reason = plan.comment ?? '' })
    parser.on('assert', result => {
      seen.asserts++
      const inner = child
      child = undefined
      if (inner) seen.subtests++
      if (result.skip || result.todo) seen.skips++
      const failedBefore = this.failed
      this.#judge(result, inner, [...titles, result.name])
      seen.failed += (inner?.failed ?? 0) + this.failed - failedBefore
    })
    return seen
  }

  #judge ({ ok, skip, todo, diag }, inner, titles) {
    const name = [diag?.expired, ...titles].filter(Boolean).join(' > ')
    const leaf = inner ? inner.subtests === 0 : Boolean(skip || todo)
    const empty = inner?.asserts === 0 && (inner.reason === '' || inner.reason.includes(none))
    if (titles.length === 1 && empty && !(typeof skip === 'string' && !skip.includes(none))) this.complain(`${name}: a file without an assertion proves nothing`)
    else if (skip || todo) this.skipped += leaf ? 1 : 0
    else if (leaf && ok) this.passed += inner.asserts > 0 && inner.asserts === inner.skips ? 0 : 1
    else if (leaf) this.complain(name)
    else if (!inner && !ok && titles.length === 1) this.complain(name)
    else if (inner && !ok && inner.failed === 0) this.complain(`${name}: failed outside its tests`)
  }
}
