/** Formats of numbers and elements, shared by the whole page. */
export const element = (id) => document.getElementById(id)

export const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

export const number = (digits) => (value) => value == null ? '–' : value.toLocaleString('en', { maximumFractionDigits: value !== 0 && Math.abs(value) < 10 ? digits : 0 })

export const percent = (share) => share == null ? '–' : `${(share * 100).toFixed(1).replace('.0', '')} %`

export const bytes = (value) => {
  if (value == null) return '–'
  const power = Math.min(3, Math.floor(Math.log2(Math.max(1, value)) / 10))
  return `${(value / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${['B', 'KB', 'MB', 'GB'][power]}`
}

export const milliseconds = (value) => value == null ? '–' : value >= 1000 ? `${number(1)(value / 1000)} s` : `${number(2)(value)} ms`

export const lasting = (seconds) => seconds < 100 ? `${Math.round(seconds)} s` : seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`

/** `hh:mm:ss` of a time in milliseconds since 1970. */
export const clock = (at) => new Date(at).toLocaleTimeString('en-GB')

/** Fills a table with rows, or with one that explains why there are none. */
export function fillTable (id, rows, nothing) {
  const body = element(id).tBodies[0]
  const columns = element(id).tHead.rows[0].cells.length
  body.replaceChildren(...rows.length > 0 ? rows : [make('tr', {}, make('td', { colSpan: columns, className: 'nothing', textContent: nothing }))])
}
