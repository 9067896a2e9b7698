// What becomes of LiteLLM's other settings, as data: why one is not needed here, or what there is in its stead. The first
// pattern that matches a setting's name counts; a setting that none knows is told to be unknown.
import type { Path } from '../config/faults.ts';
import { SECTIONS } from './settings.ts';
import type { Kind, Note, Source } from './source.ts';

type Row = readonly [RegExp, Kind, string];

const SETTINGS: readonly Row[] = [
  [
    /^(default_)?max_retries$|num_retries|retry_policy|^retry_after$|^max_fallbacks$|^disable_retry_/,
    'needless',
    'retries are built in: once, on another backend, and only of what cannot have run',
  ],
  [
    /^allowed_fails|cooldown/,
    'needless',
    'health is built in: a backend that refuses connections or fails five times in a row is left out until a probe succeeds',
  ],
  [/health_check/, 'needless', 'backends are probed all the time, without inference and without loading a model'],
  [
    /^(drop|modify|additional_drop)_params$/,
    'needless',
    'parameters are passed on as the caller wrote them; an engine ignores or refuses what it does not know',
  ],
  [
    /verbose|json_logs|debug|log_level/,
    'needless',
    'the log is JSON, and LOG_LEVEL sets how much; keys, prompts and answers are never in it',
  ],
  [/^telemetry$/, 'needless', 'Lanyard reports to nobody'],
  [/message_logging|^redact_|store_prompts|log_raw_request/, 'needless', 'prompts, answers and keys are never logged'],
  [
    /^database_url$|^store_model_in_db$/,
    'todo',
    'there is no database. Keys and models that LiteLLM keeps in its own are not in this file: make keys with `lanyard key NAME`, and name the models here',
  ],
  [
    /^database_|^allow_requests_on_db|prisma|spend|proxy_b(udget|atch)_|_db_|batch_write/,
    'needless',
    'there is no database; tokens by key and model are counted in /metrics',
  ],
  [
    /^(context_window|content_policy)_fallbacks$/,
    'lost',
    'a refusal of the engine goes to the caller, such as 400 context_length_exceeded; `fallback` is for models whose backends cannot take the call',
  ],
  [
    /^(enable|optional)_pre_call_checks?$/,
    'lost',
    'what does not fit is the engine’s to refuse, with 400 context_length_exceeded',
  ],
  [/^routing_strategy/, 'lost', 'the least loaded deployment gets the call; there is no other strategy'],
  [/tag_filtering/, 'lost', 'there are no tags: give each its own model name, and keys their `models`'],
  [/^cache|^caching/, 'lost', 'answers are not cached'],
  [
    /callbacks?$|^callback_|langfuse|otel/,
    'lost',
    'there are no callbacks; /metrics is for Prometheus, and the log has a JSON line for each request',
  ],
  [/^alert|^spend_report/, 'lost', 'alerts are Prometheus’: deploy/alerts.yml has them'],
  [/^allowed_ips$/, 'todo', 'let nginx or a firewall refuse other addresses: `allow` and `deny` in nginx.conf'],
  [
    /^use_x_forwarded_for$/,
    'todo',
    'name the proxies whose X-Forwarded-For is to be believed in limits.trusted_proxies',
  ],
  [
    /max_parallel_requests$/,
    'lost',
    'set `slots` on each backend: what it can really do at once; calls beyond it wait',
  ],
  [
    /^(max_request|max_response)_size_mb$/,
    'lost',
    'the size is out of range: see limits.body_bytes_max and limits.answer_bytes_max',
  ],
  [/timeout/, 'lost', 'see limits.first_byte_ms, limits.idle_ms and limits.queue_wait_ms, which hold for all backends'],
  [
    /^(completion|embedding|image_generation|moderation)_model$/,
    'lost',
    'a key can have a `default_model`, for requests that name none',
  ],
  [/^master_key$/, 'lost', 'this is no text that could be a key'],
  [/^(fallbacks|default_fallbacks|model_group_alias)$/, 'lost', 'this is not in a form that LiteLLM reads'],
  [
    /budget|rpm|tpm|rate_limit/,
    'lost',
    'limits are requests by rate and in parallel, for an address (limits.ip) or a key (auth.keys); there are no budgets',
  ],
  [
    /jwt|sso|oauth|custom_auth|_auth$|key_management|key_generat|key_header|azure_key_vault|google_kms|team|user_|ui_|_ui|license|admin/,
    'lost',
    'keys are those in auth.keys, made by `lanyard key NAME`; there are no teams, no single sign-on and no pages to manage them',
  ],
  [/routes$|pass_through/, 'lost', 'Lanyard has chat, completions, embeddings and models, and no other routes'],
  [/^forward_|_header/, 'lost', 'no header of a caller reaches a backend, and none of a backend reaches a caller'],
  [/ssl|tls|cert/, 'lost', 'certificates are always checked; give Node your own authority by NODE_EXTRA_CA_CERTS'],
  [/^redis_/, 'lost', 'Redis is given by one URL: `redis:`'],
  [/guardrail|moderation|prompt_injection|presidio/, 'lost', 'Lanyard does not look into prompts or answers'],
];

const PARAMS: readonly Row[] = [
  [
    /^(rpm|tpm)$/,
    'lost',
    'calls go to the least loaded backend and wait when it is full: `slots` on the backend; callers are limited by limits.ip and by their keys',
  ],
  [
    /^order$/,
    'lost',
    'the least loaded deployment answers: for a strict order make the later one a model of its own, and name it as `fallback`',
  ],
  [
    /^weight$/,
    'lost',
    'the least loaded deployment answers, by its share of `slots`: give a stronger backend more of them',
  ],
  [/cost|^budget|_budget/, 'needless', 'nothing is billed; tokens by key and model are counted in /metrics'],
  [/retries$/, 'needless', 'retries are built in: once, on another backend, and only of what cannot have run'],
  [/cooldown|allowed_fails/, 'needless', 'health is built in: a backend that fails is left out until a probe succeeds'],
  [
    /^(drop|additional_drop)_params$/,
    'needless',
    'parameters are passed on as the caller wrote them; an engine ignores or refuses what it does not know',
  ],
  [/^api_version$|^organization$|^region|^aws_|^vertex_|^azure_/, 'needless', 'engines do not ask for it'],
  [/timeout/, 'lost', 'see limits.first_byte_ms and limits.idle_ms, which hold for all backends'],
  [/headers$/, 'lost', 'an engine gets its key and nothing else of this kind'],
  [/credential/, 'todo', 'write the api_base and api_key of that credential into the backend'],
  [/^max_parallel_requests$/, 'lost', 'set `slots` on the backend: a whole number from 1'],
  [/tags$|^guardrails$|^cache|^mock_/, 'lost', 'Lanyard has nothing of the kind'],
  [
    /./,
    'lost',
    'Lanyard adds no parameter to a call: set it in the client, or in the engine (for Ollama in a Modelfile or its environment)',
  ],
];

const INFO: readonly Row[] = [
  [/cost|budget/, 'needless', 'nothing is billed; tokens by key and model are counted in /metrics'],
  [/access_groups|team/, 'lost', 'which key may use which model is said by `models` of the key'],
  [/./, 'needless', 'the gateway asks the engines what their models can do'],
];

const FILE: readonly Row[] = [
  [/^include$/, 'todo', 'those files are not read: import each, and put the backends and models together'],
  [/^x-|^\./, 'needless', 'what uses it by an anchor has it already'],
  [/^model_list$/, 'lost', 'this is not in a form that LiteLLM reads'],
  [/^credential_list$/, 'todo', 'write each api_base and api_key into the backends that need them'],
  [/guardrail/, 'lost', 'Lanyard does not look into prompts or answers'],
  [/./, 'lost', 'Lanyard has nothing of the kind'],
];

/** What to say of a value that nothing has said anything about. */
export function noteFor(path: Path): Note {
  const [section, , part] = path.map(String);
  const last = String(path.find((step, index) => index > 0 && typeof step === 'string' && !INNER.has(step)) ?? section);
  if (section === 'model_list' && part === 'litellm_params') return look(PARAMS, last);
  if (section === 'model_list')
    return part === 'model_info' ? look(INFO, last) : look(FILE, path.length > 1 ? last : section);
  if (path.length > 1 && SECTIONS.some((one) => one === section)) return look(SETTINGS, last);
  return look(FILE, section ?? '');
}

const INNER = new Set(['litellm_params', 'model_info']);

function look(rows: readonly Row[], name: string): Note {
  const [, kind, text] = rows.find(([pattern]) => pattern.test(name)) ?? UNKNOWN;
  return { kind, text };
}

const UNKNOWN: Row = [/./, 'lost', 'Lanyard has no such setting'];

/** Settings of which not only the name decides. */
export function notesByValue(source: Source): void {
  const strategy = source.text('router_settings', 'routing_strategy');
  if (strategy === 'simple-shuffle' || strategy === 'least-busy')
    source.remark(
      { kind: 'needless', text: 'the least loaded deployment gets the call' },
      'router_settings',
      'routing_strategy',
    );
  for (const key of ['callbacks', 'success_callback', 'failure_callback', 'service_callbacks', 'service_callback']) {
    for (const [index, name] of source.list('litellm_settings', key).entries()) {
      if (name !== 'prometheus') continue;
      source.open('litellm_settings', key);
      source.remark(
        { kind: 'needless', text: 'GET /metrics is always there for Prometheus' },
        'litellm_settings',
        key,
        index,
      );
    }
  }
}
