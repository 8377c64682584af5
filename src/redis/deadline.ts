/** No answer of Redis is waited for longer than this. */
export const deadlineMs = 200
