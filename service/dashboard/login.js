/* global location */
const [form, token, result] = ['login', 'token', 'result'].map((id) => document.getElementById(id))

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  const { ok, status } = await fetch('/ops/session', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ token: token.value }) })
  if (ok) location.reload()
  else result.textContent = status === 429 ? 'Too many attempts: wait a minute.' : 'Wrong token.'
})
