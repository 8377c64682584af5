-- Requests of one workload: each line of the file is "path<TAB>address<TAB>cookie<TAB>name<TAB>value", all but the first may be empty or missing.
local lines, at = {}, 0

function init (args)
  for line in io.lines(args[1]) do
    local path, address, cookie, name, value = line:match('([^\t]*)\t([^\t]*)\t([^\t]*)\t?([^\t]*)\t?(.*)')
    local fields = {}
    if address ~= '' then fields['X-Forwarded-For'] = address end
    if cookie ~= '' then fields.Cookie = cookie end
    if name ~= '' then fields[name] = value end
    lines[#lines + 1] = wrk.format('GET', path, fields)
  end
end

function request ()
  at = at % #lines + 1
  return lines[at]
end

function done (summary, latency)
  local errors = summary.errors
  io.write(string.format('{"requests":%d,"seconds":%f,"p50Ms":%f,"p99Ms":%f,"failed":%d,"timeouts":%d,"refused":%d,"bytes":%.0f}\n', summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, errors.connect + errors.read + errors.write + errors.timeout, errors.timeout, errors.status, summary.bytes))
end
