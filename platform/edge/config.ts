import type { RouteTarget } from '../agent/api.js';
import type { EdgeSpec, Endpoint } from '../agent/spec.js';

/** Places for servers in each backend, filled and emptied at run time, so that a change of instances is no reload. */
export const LOCAL_SLOTS = 16;
export const PEER_SLOTS = 4;

/** Paths are relative to the role's directory: a UNIX socket's path may have about 100 characters. */
export const HOSTS_MAP = 'hosts.map';
export const ROUTES_MAP = 'routes.map';
export const HOLD_LUA = 'hold.lua';
export const STATS_SOCKET = 'admin.sock';
export const CERTIFICATE = 'edge.pem';
export const PEER_CA = 'peer-ca.pem';

/** A request that carries it came through the other platform's edge and is never sent back there. */
const HOP_HEADER = 'X-Nxnw-Hop';
const REPEATABLE_HEADER = 'Idempotency-Key';
/** Answered by the edge itself: 200 when the application of the Host header has an instance that is up. */
const EDGE_HEALTH_PATH = '/_nxnw/health';

/**
 * A route that holds requests: until a time (ms since 1970), after which they go where they went before. A hold so ends
 * by itself, whatever becomes of who asked for it.
 */
export const holdRoute = (untilMs: number, after: RouteTarget): string => `hold-${untilMs}-${after}`;

/** What a value in the map of routes says once no hold is on. */
export const routeOf = (value: string | undefined): RouteTarget =>
  value === 'peer' || value?.endsWith('-peer') === true ? 'peer' : 'local';

/** Waits, without keeping HAProxy from anything else, until the route of the request's application is no hold. */
export const HOLD_SCRIPT = `local routes = Map.new('${ROUTES_MAP}', Map._str)
core.register_action('hold', { 'http-req' }, function(txn)
  local app = txn:get_var('txn.app')
  while true do
    local route = routes:lookup(app) or 'local'
    local untilMs, after = string.match(route, '^hold%-(%d+)%-(%a+)$')
    local now = core.now()
    if untilMs and now.sec * 1000 + now.usec / 1000 >= tonumber(untilMs) then
      route, untilMs = after, nil
    end
    if not untilMs then
      txn:set_var('txn.route', route)
      return
    end
    core.msleep(10)
  end
end)
`;

export const localBackend = (app: string): string => `app_${app}`;
export const peerBackend = (app: string): string => `peer_${app}`;

export interface Slot {
  readonly backend: string;
  readonly server: string;
  /** null = empty. */
  readonly at: Endpoint | null;
}

/** Every server place of the configuration with what the specification puts there. */
export function slotsOf(spec: EdgeSpec): Slot[] {
  const fill = (backend: string, count: number, servers: readonly Endpoint[]): Slot[] =>
    Array.from({ length: count }, (_, i) => ({ backend, server: `s${i + 1}`, at: servers[i] ?? null }));
  return spec.apps.flatMap((a) => [
    ...fill(localBackend(a.app), LOCAL_SLOTS, a.servers),
    ...fill(peerBackend(a.app), PEER_SLOTS, spec.peer),
  ]);
}

export function hostsMap(spec: EdgeSpec): string {
  return spec.apps.flatMap((a) => a.domains.map((d) => `${d} ${a.app}\n`)).join('');
}

/** `withServers: false` leaves the addresses out: what differs then needs a reload. */
export function haproxyConfig(spec: EdgeSpec, o: { withServers: boolean }): string {
  const slots = slotsOf(spec);
  const peerTls = spec.peerCaPem === undefined ? '' : ` ssl verify required ca-file ${PEER_CA} sni req.hdr(host)`;
  const serversOf = (backend: string, options: string): string[] =>
    slots
      .filter((s) => s.backend === backend)
      .map(({ server, at }) => {
        const address = o.withServers && at ? `${at.host}:${at.port}` : '127.0.0.1:9';
        return `  server ${server} ${address} check inter 500 downinter 100 fall 2 rise 1${options}${o.withServers && at ? '' : ' disabled'}`;
      });
  const health = spec.apps.flatMap((a) => {
    const here = `{ path ${EDGE_HEALTH_PATH} } { var(txn.app) -m str ${a.app} }`;
    return [
      `  http-request return status 503 content-type text/plain string "no instance is up" if ${here} { nbsrv(${localBackend(a.app)}) lt 1 }`,
      `  http-request return status 200 content-type text/plain string "ok" if ${here}`,
    ];
  });
  const backends = spec.apps.flatMap((a) => [
    `backend ${localBackend(a.app)}`,
    '  option httpchk',
    `  http-check send meth GET uri ${a.health} ver HTTP/1.1 hdr Host ${a.domains[0]}`,
    ...serversOf(localBackend(a.app), ''),
    `backend ${peerBackend(a.app)}`,
    '  option httpchk',
    '  retry-on conn-failure',
    `  http-check send meth GET uri ${EDGE_HEALTH_PATH} ver HTTP/1.1 hdr Host ${a.domains[0]}`,
    `  http-request set-header ${HOP_HEADER} 1`,
    ...serversOf(peerBackend(a.app), peerTls),
  ]);
  return [
    'global',
    `  lua-load ${HOLD_LUA}`,
    `  stats socket unix@${STATS_SOCKET} mode 600 level admin expose-fd listeners`,
    '  stats timeout 10s',
    '  log stdout format raw local0',
    '  maxconn 4000',
    '  nbthread 1',
    '  hard-stop-after 30s',
    'defaults',
    '  mode http',
    '  log global',
    '  option dontlog-normal',
    '  option redispatch 1',
    // A reload lets a kept connection finish its next request before it closes it.
    '  option idle-close-on-response',
    '  retries 3',
    // What was not sent yet goes to another server; what was cut off by a server's death only if it changes nothing.
    '  retry-on conn-failure empty-response',
    '  timeout connect 2s',
    // a process that is gone refuses the connection; one that is late is busy, and without it the others would be too
    '  timeout check 5s',
    '  timeout client 60s',
    '  timeout server 60s',
    '  timeout http-keep-alive 60s',
    '  timeout queue 5s',
    'frontend web',
    `  bind ${spec.http.host}:${spec.http.port}`,
    ...(spec.https ? [`  bind ${spec.https.host}:${spec.https.port} ssl crt ${CERTIFICATE} alpn h2,http/1.1`] : []),
    // A write that was under way may have happened: only the client can find out, unless it says by this header that the
    // application knows a repeated request (draft-ietf-httpapi-idempotency-key-header). It must be whole to be repeated.
    `  http-request wait-for-body time 1s if { req.hdr(${REPEATABLE_HEADER}) -m found }`,
    `  http-request disable-l7-retry unless METH_GET || { req.hdr(${REPEATABLE_HEADER}) -m found }`,
    `  http-request set-var(txn.app) req.hdr(host),field(1,:),lower,map(${HOSTS_MAP},none)`,
    `  http-request set-var(txn.route) var(txn.app),map(${ROUTES_MAP},local)`,
    ...health,
    // What the other edge passed on has been held there.
    `  http-request lua.hold if { var(txn.route) -m beg hold- } !{ req.hdr(${HOP_HEADER}) -m found }`,
    `  use_backend peer_%[var(txn.app)] if { var(txn.route) -m str peer } !{ req.hdr(${HOP_HEADER}) -m found }`,
    '  use_backend app_%[var(txn.app)]',
    '  default_backend none',
    'backend none',
    '  http-request return status 404 content-type text/plain string "no such application"',
    ...backends,
    '',
  ].join('\n');
}
