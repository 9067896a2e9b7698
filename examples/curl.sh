#!/bin/sh
# Lanyard from a shell: models, a chat, a stream, a completion, an error, embeddings.   LANYARD_KEY=sk-… sh examples/curl.sh
set -eu
url=${LANYARD_URL:-http://localhost:4000}
key=${LANYARD_KEY:-${LITELLM_MASTER_KEY:?set LANYARD_KEY, or LITELLM_MASTER_KEY}}

# ask PATH [JSON]: --fail-with-body shows a refusal's text and ends with 22; -N shows each piece of a stream as it comes.
ask() {
  curl --silent --show-error --fail-with-body -N "$url/v1/$1" -H "Authorization: Bearer $key" \
    ${2:+-H 'Content-Type: application/json' -d "$2"}
}

echo '# the models this key may use'
models=$(ask models) || { status=$?; echo "$models" >&2; exit "$status"; }
echo "$models"
# The first of them, or the one you name.
model=${LANYARD_MODEL:-$(echo "$models" | sed 's/.*"data":\[{"id":"\([^"]*\)".*/\1/')}

echo "# a chat with $model"
ask chat/completions '{"model":"'"$model"'","messages":[{"role":"user","content":"Say hello."}]}'
echo

echo '# the same, streamed: the answer is whole when it ends with [DONE]'
ask chat/completions '{"model":"'"$model"'","stream":true,"messages":[{"role":"user","content":"Say hello."}]}'

echo '# a text completed, as editors ask for it'
ask completions '{"model":"'"$model"'","prompt":"def add(a, b):","max_tokens":32}'
echo

echo '# an error: what to decide by is its code'
ask chat/completions '{"model":"no-such-model","messages":[]}' || echo " (and curl ends with $?)"

if [ -n "${LANYARD_EMBEDDING_MODEL:-}" ]; then
  echo "# embeddings by $LANYARD_EMBEDDING_MODEL"
  ask embeddings '{"model":"'"$LANYARD_EMBEDDING_MODEL"'","input":["one","two"]}'
  echo
else
  echo '# embeddings: set LANYARD_EMBEDDING_MODEL to a model for them'
fi
