#!/bin/sh
# Certificates for a LAN: a private authority, made once, and a certificate of it for this machine's names and addresses.
#
#   sh deploy/certs.sh [FOLDER] [NAME_OR_ADDRESS…]
#   sh deploy/certs.sh /etc/lanyard/certs gpu.lan 192.168.1.20
#
# FOLDER is /etc/lanyard/certs unless given. Without names it finds out those of this machine; localhost is always among
# them. For the internet take a public authority instead: docs/SECURITY.md.
#
#   ca.pem         the authority's certificate (10 years): what clients are told to trust
#   ca-key.pem     its key. Whoever has it can pretend to be any site to those clients: keep it elsewhere, it is only
#                  wanted here for the next certificate. (ca.pem is in it too: one file, so that none is ever half made.)
#   fullchain.pem  the certificate nginx shows (397 days)
#   privkey.pem    its key: a new certificate is for the same key, so that only one file changes, in one step. For a new
#                  key move this one away.
#
# Run it again whenever you like (each week by cron, say): a certificate that is good for 30 more days and has all the names
# stays as it is; else it is made anew by the same authority, and clients notice nothing. Then nginx must reload. Wherever it is
# cut off, the next run goes on. What it did not make, it does not touch. The names a certificate had it keeps: to be rid of
# one, move fullchain.pem and privkey.pem away first. Exit status: 0 all is well, 1 not, 2 wrong use.
#
# It needs openssl: run in the tests with 3.0, by sh, dash and bash, and kept to what 1.1.1 and macOS's LibreSSL have too, which
# were not at hand.
#
# No name constraints in the authority: a name added later would want another one, and every client told again.
set -efu
umask 077
export LC_ALL=C # where a-z is these letters and no others

CA_DAYS=3650
LEAF_DAYS=397 # browsers take none that lasts longer
RENEW_DAYS=30

# Not by echo: dash's makes a new line of a \n in what it was given.
say() { printf 'certs: %s\n' "$*"; }
fail() {
  say "$*" >&2
  exit 1
}
wrong() {
  say "$*" >&2
  exit 2
}
# A dangling link is somebody's too.
there() { [ -e "$1" ] || [ -L "$1" ]; }

case ${1:-} in
  -h | --help)
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
  -*) wrong "unknown option $1; see sh $0 --help" ;;
esac
folder=${1:-/etc/lanyard/certs}
[ $# -eq 0 ] || shift
# shellcheck disable=SC2086,SC2048 # several names in one argument are several names; none, none
set -- $*
command -v openssl >/dev/null 2>&1 || fail "openssl is not installed (apt install openssl)"

ca=$folder/ca.pem ca_key=$folder/ca-key.pem chain=$folder/fullchain.pem key=$folder/privkey.pem
work=$(mktemp -d) || fail "no temporary folder can be made in ${TMPDIR:-/tmp}"
new=
trap 'rm -rf "$work" ${new:+"$new"}' EXIT
trap 'exit 1' HUP INT TERM

# ---- what is there already ------------------------------------------------------------------------------------------

issuer_of() { openssl x509 -noout -issuer -in "$1" 2>/dev/null | sed 's/^issuer= *//'; }
subject_of() { openssl x509 -noout -subject -in "$1" 2>/dev/null | sed 's/^subject= *//'; }
ends() { openssl x509 -noout -enddate -in "$1" | sed 's/^notAfter=//'; }
# Whether the certificate $1 is still valid in $2 days.
lasts() { openssl x509 -noout -checkend $(($2 * 86400)) -in "$1" >/dev/null 2>&1; }
# Whether the key $2 belongs to the certificate $1.
belongs() { [ "$(openssl x509 -noout -pubkey -in "$1" 2>/dev/null)" = "$(openssl pkey -pubout -in "$2" 2>/dev/null)" ]; }

if there "$chain"; then
  # Our authorities have a random part in their names, so that the name tells them apart.
  if ! there "$ca" || [ -z "$(issuer_of "$chain")" ] || [ "$(issuer_of "$chain")" != "$(subject_of "$ca")" ]; then
    say "$chain was not made here; left as it is"
    lasts "$chain" 0 || say "but it is over, or cannot be read" >&2
    exit 0
  fi
  if there "$key" && ! belongs "$chain" "$key"; then
    fail "$key does not belong to $chain; move away what is not yours of them and run this again"
  fi
elif there "$key"; then
  fail "$key is there without fullchain.pem, and was not made here; add its certificate, or move it away"
fi

# ---- the names ------------------------------------------------------------------------------------------------------

addresses() {
  # A temporary address (RFC 8981) changes by the day; of link-local ones no client can make a URL.
  if command -v ip >/dev/null 2>&1; then
    ip -o addr show scope global | grep -v -e ' temporary' -e ' deprecated' | awk '{ sub("/.*", "", $4); print $4 }'
  elif command -v ifconfig >/dev/null 2>&1; then
    ifconfig | grep -v -e ' temporary' -e ' deprecated' | awk '$1 ~ /^inet6?$/ { sub("/.*", "", $2); print $2 }' |
      grep -v -e '^fe80:' -e '%' -e '^127\.'
  else
    hostname -I 2>/dev/null | tr ' ' '\n'
  fi
}

# What has a colon, or ends in a number, can only be an address; whether it is a good one openssl judges. It is never shown
# what its configuration would read as more than a value: \ # $ and the like.
is_address() {
  case $1 in
    *[!0-9a-z:.*-]*) return 1 ;;
    *[!0-9a-f:.]*) ;;
    *:*) return 0 ;;
  esac
  case ${1##*.} in '' | *[!0-9]*) return 1 ;; esac
}
is_name() {
  [ ${#1} -le 253 ] &&
    printf '%s\n' "$1" | grep -Eq '^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'
}

if [ $# -eq 0 ]; then
  host=$(uname -n | tr '[:upper:]' '[:lower:]')
  if is_name "$host"; then
    set -- "$host" "${host%%.*}.local"
  else
    say "this machine's name, $host, cannot stand in a certificate (letters, digits and - only) and is left out"
  fi
  # shellcheck disable=SC2046 # words are wanted
  set -- "$@" $(addresses || :)
fi

names() {
  dns=0 ip=0 seen=' '
  for given in "$@" localhost 127.0.0.1 ::1; do
    name=$(printf %s "$given" | tr '[:upper:]' '[:lower:]' | sed 's/^\[\(.*\)\]$/\1/')
    case $seen in *" $name "*) continue ;; esac
    seen="$seen$name "
    if is_address "$name"; then
      ip=$((ip + 1))
      printf '%s\n' "IP.$ip = $name"
    elif is_name "$name"; then
      dns=$((dns + 1))
      printf '%s\n' "DNS.$dns = $name"
    else
      wrong "\"$given\" is neither a name nor an address (no https://, no port; ü is written xn--…)"
    fi
  done
}

names "$@" >"$work/names" || exit $?
first=$(sed -n '1s/.* = //p' "$work/names")
suffix=$(openssl rand -hex 4)
cat >"$work/config" <<CONFIG
[req]
distinguished_name = empty
prompt = no
[empty]
[leaf_request]
subjectAltName = @names
[ca]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = @names
[names]
$(cat "$work/names")
CONFIG

# P-256, since every client reads it.
new_key() {
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve -out "$1" 2>/dev/null
}
# Both of the certificate and of the request, one a line, as this openssl writes them: `::1` has many spellings.
names_in() { sed -n '/Subject Alternative Name/{n;p;}' | tr ',' '\n' | sed 's/^ *//;s/ *$//' | sort -u; }

renewal=no leaf_key=$work/key
if there "$chain" && there "$key"; then
  renewal=yes leaf_key=$key
else
  new_key "$leaf_key" || fail "openssl could not make a key: $(openssl version)"
fi
openssl req -new -sha256 -key "$leaf_key" -config "$work/config" -reqexts leaf_request \
  -subj "/CN=$(printf %.64s "$first")" -out "$work/request" 2>"$work/error" ||
  wrong "openssl takes one of these for no address: $(sed -n 's/^IP.* = //p' "$work/names" | tr '\n' ' ')"

openssl req -noout -text -in "$work/request" | names_in >"$work/wanted"
if [ $renewal = yes ]; then
  openssl x509 -noout -text -in "$chain" | names_in >"$work/had"
  if lasts "$chain" $RENEW_DAYS && lasts "$ca" 0 && [ -z "$(grep -vxFf "$work/had" "$work/wanted" || :)" ]; then
    say "$chain has all the names and lasts until $(ends "$chain"); left as it is"
    exit 0
  fi
  # The names it had stay: who asks for one more may not know of them, and their clients would be refused.
  grep -vxFf "$work/wanted" "$work/had" |
    sed -n 's/^DNS:\([a-z0-9.*-]*\)$/DNS.had = \1/p;s/^IP Address:\([0-9A-Fa-f.:]*\)$/IP.had = \1/p' |
    awk '{ sub(/\.had/, ".had" NR); print }' >"$work/kept"
  cat "$work/kept" >>"$work/config"
  cat "$work/kept" >>"$work/names"
fi

# ---- the authority --------------------------------------------------------------------------------------------------

# The file $1 as $2, under the umask $3. In one step, so that nobody ever sees half a file, and on the disk before, so that no
# power cut shows one. The folder may be a user's and this run by root: `set -C` opens only what is not there, so that no link
# is followed, not even one that is put there at the last moment; nor does mv follow one, but to a folder.
put() {
  new=$folder/.new.$(openssl rand -hex 8)
  (umask "$3" && set -C && cat "$1" >"$new") && { sync "$new" 2>/dev/null || sync; } &&
    [ ! -d "$2" ] && mv -f "$new" "$2" || fail "$2 cannot be written"
}
serial() { echo "0x$(openssl rand -hex 16)"; }

(umask 022 && mkdir -p "$folder") 2>/dev/null || fail "$folder cannot be made; run this with sudo, or name a folder of yours"
[ -w "$folder" ] || fail "$folder cannot be written to; run this with sudo, or name a folder of yours"

# A first run that was cut off here, or ca.pem was lost.
if ! there "$ca" && openssl x509 -in "$ca_key" -out "$work/ca" 2>/dev/null && belongs "$work/ca" "$ca_key"; then
  put "$work/ca" "$ca" 022
fi
if there "$ca" && there "$ca_key"; then
  belongs "$ca" "$ca_key" || fail "$ca_key does not belong to $ca; put the right one in its place"
  lasts "$ca" 0 ||
    fail "$ca is over; move the four files away and run this again, then tell the clients of the new one"
  lasts "$ca" $LEAF_DAYS || say "the authority itself ends on $(ends "$ca"): plan a new one" >&2
elif there "$ca"; then
  fail "a new certificate is wanted, and $ca_key is not there to sign it: put it back for the moment"
elif there "$ca_key"; then
  fail "$ca_key is there without ca.pem; put that back, or move the key away for a new authority"
else
  new_key "$work/ca-key"
  openssl req -x509 -new -sha256 -days $CA_DAYS -set_serial "$(serial)" -key "$work/ca-key" \
    -config "$work/config" -extensions ca -subj "/CN=Lanyard private CA $suffix" -out "$work/ca" 2>"$work/error" ||
    fail "openssl could not make the authority: $(cat "$work/error")"
  cat "$work/ca-key" "$work/ca" >"$work/ca-both"
  put "$work/ca-both" "$ca_key" 077
  put "$work/ca" "$ca" 022
fi

# ---- the certificate ------------------------------------------------------------------------------------------------

openssl x509 -req -sha256 -days $LEAF_DAYS -set_serial "$(serial)" -in "$work/request" -CA "$ca" -CAkey "$ca_key" \
  -extfile "$work/config" -extensions leaf -out "$work/leaf" 2>"$work/error" ||
  fail "openssl could not sign: $(cat "$work/error")"
# The certificate first: without its key, it is known as ours by its issuer and made again.
put "$work/leaf" "$chain" 022
[ $renewal = yes ] || put "$work/key" "$key" 077

# As nginx and URLs write them: IPv6 in brackets.
hosts=$(sed 's/.* = //;s/.*:.*/[&]/' "$work/names" | tr '\n' ' ' | sed 's/ $//')
made=$chain
[ $renewal = yes ] || made="$chain and privkey.pem"
say "made $made, good until $(ends "$chain")"
say "nginx.conf takes these names by: server_name $hosts;"
if [ $renewal = yes ]; then
  say "by the same authority as before: clients notice nothing. Tell nginx: nginx -s reload"
  exit 0
fi
cat <<WORDS
certs: its private authority is $ca, good until $(ends "$ca")

Copy ca.pem (nothing else) to each client, and tell it to trust it:
  curl      curl --cacert ca.pem https://${hosts%% *}/health
  Python    SSL_CERT_FILE=ca.pem for the openai SDK and httpx, REQUESTS_CA_BUNDLE=ca.pem for requests
  Node      NODE_EXTRA_CA_CERTS=ca.pem; from 22.15 on also --use-system-ca, once the system trusts it
  VS Code   trusts what the system trusts; else start it with NODE_EXTRA_CA_CERTS=/absolute/path/ca.pem
or let the whole system trust it, most browsers with it:
  Debian    sudo cp ca.pem /usr/local/share/ca-certificates/lanyard.crt && sudo update-ca-certificates
  Fedora    sudo cp ca.pem /etc/pki/ca-trust/source/anchors/lanyard.pem && sudo update-ca-trust
  macOS     sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain ca.pem
  Windows   certutil -addstore -f Root ca.pem        (as administrator)
  Firefox, and Chrome on Linux, have a store of their own: Settings, Certificates, Authorities, Import.

Take ca-key.pem off this machine, or guard it well: with it, anyone can pretend to be any site to these clients. It is
wanted here again for the next certificate: 30 days before $(ends "$chain"), run this once more,
and then nginx -s reload.
WORDS
