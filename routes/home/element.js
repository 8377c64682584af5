export const element = (id) => document.getElementById(id)

export const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

/** Changes a text only if it differs: screen readers announce each change of a status. */
export function tell (place, text) {
  if (place.textContent !== text) place.textContent = text
}

export const clock = (at) => new Date(at).toLocaleTimeString('en-GB')

export const count = (value) => value.toLocaleString('en')

export const milliseconds = (value) => value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`

export const seconds = (value) => value === 1 ? '1 second' : `${value} seconds`

const names = new Intl.DisplayNames('en', { type: 'region', fallback: 'code' })
export const country = (code) => names.of(code)

/** Runs `show(left)` each second with the seconds left, and `then` at the end. Returns the function that stops it. */
export function countDown (total, show, then) {
  const endsAt = performance.now() + total * 1000
  const step = () => {
    const left = Math.ceil((endsAt - performance.now()) / 1000)
    if (left > 0) return show(left)
    clearInterval(timer)
    then()
  }
  const timer = setInterval(step, 250)
  step()
  return () => clearInterval(timer)
}
