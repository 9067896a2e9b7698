// nginx.conf keeps its rules, as crossplane parses it; and the rules are such that each can be broken. It says nothing of how
// nginx 1.30 runs it, which was not at hand.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { faultsOf } from './nginx-rules.ts';
import { parseNginx, WHY_NOT, type Statement } from './parse-nginx.ts';

const CONF = readFileSync(fileURLToPath(new URL('../../nginx.conf', import.meta.url)), 'utf8');

/** One edit somebody might make, and the fault it must be found by. */
const MUTATIONS: readonly (readonly [what: string, from: string, to: string, fault: RegExp])[] = [
  ['a header added in a location', 'return 421;', 'add_header X-A b; return 421;', /X-A b hides all of its kind/],
  ['a header set in a location', 'location / {\n', 'location / {\n proxy_set_header X-A b;\n', /X-A b hides all/],
  ['a header set in a server', 'server_name _;\n', 'server_name _;\n proxy_set_header X-A b;\n', /X-A b hides all/],
  ['other refusals in a server', 'server_name _;\n', 'server_name _;\n error_page 502 /x;\n', /502 \/x hides all/],
  ['an address appended', '$remote_addr;\n  proxy', '$proxy_add_x_forwarded_for;\n  proxy', /X-Forwarded-For is not/],
  ['a claimed address let through', 'proxy_set_header Forwarded "";', '', /Forwarded is not overwritten/],
  [
    'a path put behind the gateway',
    'proxy_pass http://gateway; }',
    'proxy_pass http://gateway/; }',
    /changes the path/,
  ],
  ['buffering on', 'proxy_buffering off;', 'proxy_buffering on;', /proxy_buffering is not off/],
  [
    'buffering on again',
    'location = /health { ',
    'location = /health { proxy_buffering on; ',
    /proxy_buffering is not/,
  ],
  ['compression in a location', 'location / {\n', 'location / {\n gzip on;\n', /gzip is not off once/],
  ['retries by nginx', 'proxy_next_upstream off', 'proxy_next_upstream error', /proxy_next_upstream is not off/],
  [
    'a client that leaves, ignored',
    'proxy_ignore_client_abort off',
    'proxy_ignore_client_abort on',
    /client_abort is not/,
  ],
  ['HTTP/1.0 to the gateway', 'proxy_http_version 1.1;', '', /proxy_http_version is not 1.1/],
  ['503 over the rate', 'limit_req_status 429;', '', /limit_req_status is not 429/],
  ['no rate', 'limit_req zone=rate_by_address burst=40 nodelay;', '', /without its limit_req/],
  ['waiting instead of refusing', 'burst=40 nodelay;', 'burst=40;', /without its limit_req/],
  ['no limit of open requests', 'limit_conn open_by_address 200;', '', /without its limit_conn/],
  ['another limit for uploads', '= /files {', '= /files { limit_req zone=other;', /without its limit_req/],
  [
    'a new path without limits',
    'location = /health {',
    'location = /new { proxy_pass http://gateway; }\nlocation = /health {',
    /without its limit_req/,
  ],
  [
    'a server without refusals',
    'location = /.refused { internal;',
    'location = /.other { internal;',
    /no answer for its refusals/,
  ],
  ['refusals as text', 'default_type application/json; return 200', 'return 200', /no answer for its refusals/],
  ['413 as HTML', ' 408 413 414', ' 408 414', /413 is not refused in JSON/],
  ['504 without words', "    504 '{", "    505 '{", /504 is not refused in JSON/],
  ['broken JSON', '"code":"unknown_host"}}', '"code":"unknown_host"}', /is not OpenAI's error object/],
  ['old TLS', 'ssl_protocols TLSv1.2', 'ssl_protocols TLSv1 TLSv1.2', /ssl_protocols is not/],
  ['old TLS for one server', 'server_name lanyard', 'ssl_protocols TLSv1; server_name lanyard', /ssl_protocols is not/],
  ['an old cipher', 'ssl_ciphers ', 'ssl_ciphers AES128-SHA:', /AES128-SHA is not a cipher of today/],
  ['tickets', 'ssl_session_tickets off', 'ssl_session_tickets on', /ssl_session_tickets is not off/],
  ['plain http on 443', 'listen 443 ssl http2;', 'listen 443;', /has TLS where it should not, or none/],
  [
    'unknown names served',
    'location / { return 421; }',
    'location / { proxy_pass http://gateway; }',
    /not just refused/,
  ],
  [
    'health for unknown names',
    'location / { return 421; }',
    'location = /health { proxy_pass http://gateway; }\nlocation / { return 421; }',
    /not just refused/,
  ],
  ['no server for unknown names', '443 ssl http2 default_server;', '443 ssl http2;', /443 has 0 default servers/],
  ['no IPv6', 'listen [::]:8080 default_server;', '', /port 8080 has no IPv6/],
  [
    'sockets that a reload closes',
    'listen 8080 default',
    'listen 8080 reuseport default',
    /loses connections at a reload/,
  ],
  ['a reload that cuts streams', 'worker_shutdown_timeout 2h', 'worker_shutdown_timeout 1h', /cuts answers/],
  [
    'unbuffered bodies everywhere',
    'location / {\n',
    'location / {\n proxy_request_buffering off;\n',
    /not just uploads/,
  ],
  ['uploads as small as chats', 'client_max_body_size 220m; ', '', /not let be 220 MB/],
  [
    'an if',
    'location / { return 308',
    'location / { if ($https) { return 404; } return 308',
    /if .* is not what it seems/,
  ],
  ['a rewrite', 'server_name lanyard', 'rewrite ^/api(.*)$ $1; server_name lanyard', /the path goes on as it came/],
  ['a map by pattern', 'map $host $hsts_of_host { localhost', 'map $host $hsts_of_host { ~local', /regular expression/],
  ['a location by pattern', 'location = /health {', 'location ~ ^/health {', /regular expression/],
  ['a directive taken out of nginx', 'server_name lanyard', 'ssl on; server_name lanyard', /taken out in 1.25.1/],
  ['a directive that never was', 'gzip off;', 'gzip off; gzipp off;', /unknown directive "gzipp"/],
  ['a directive in the wrong place', 'gzip off;', 'gzip off; proxy_pass http://gateway;', /not allowed here/],
  ['too many arguments', 'send_timeout 120s;', 'send_timeout 120s 130s;', /invalid number of arguments/],
  ['a word of listen nobody looked at', 'listen 80 default', 'listen 80 proxy_protocol default', /not looked at/],
  ['a missing brace', 'events {', 'events', /.+/],
];

describe.skipIf(WHY_NOT !== undefined)(
  `nginx.conf, parsed by crossplane${WHY_NOT === undefined ? '' : ` (${WHY_NOT})`}`,
  () => {
    let faults: string[][];
    let tree: readonly Statement[];

    beforeAll(() => {
      const texts = MUTATIONS.map(([, from, to]) => CONF.replaceAll(from, to));
      const parsed = parseNginx([CONF, ...texts]);
      tree = parsed[0]?.tree ?? [];
      faults = parsed.map(faultsOf);
    });

    test('keeps every rule', () => {
      expect(faults[0]).toEqual([]);
      expect(tree.map(({ directive }) => directive)).toContain('http');
    });

    test.for(MUTATIONS.map(([what, from, , fault], at) => ({ what, from, fault, at })))(
      'would break one with $what',
      ({ from, fault, at }) => {
        expect(CONF).toContain(from);
        expect(faults[at + 1]).toContainEqual(expect.stringMatching(fault));
      },
    );

    test('has exactly the two lines an operator edits, once each', () => {
      const lines = CONF.split('\n').map((line) => line.trim());
      expect(lines.filter((line) => line.startsWith('server_name lanyard.example.com'))).toHaveLength(1);
      expect(lines.filter((line) => line.startsWith('server 127.0.0.1:4000 '))).toHaveLength(1);
    });
  },
);
