# Certificates for the tests, made at run time. Sourced; needs `pki` (a folder) and openssl.

# make_ca NAME
make_ca() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$1.key"
  openssl req -x509 -new -key "$pki/$1.key" -subj "/CN=$1" -days 2 -out "$pki/$1.crt" 2>>"$pki/log"
}
# make_cert NAME CA CN NAMES [START END]: NAMES as in subjectAltName, or ''; start and end as 20260101000000Z.
make_cert() {
  local name=$1 ca=$2 cn=$3 names=$4
  openssl ecparam -name prime256v1 -genkey -noout -out "$pki/$name.key"
  openssl req -new -key "$pki/$name.key" -subj "/CN=$cn" -out "$pki/$name.csr" 2>>"$pki/log"
  {
    [ -z "$names" ] || echo "subjectAltName=$names"
    echo "extendedKeyUsage=serverAuth,clientAuth"
  } >"$pki/$name.ext"
  ca_config "$ca"
  if [ $# -gt 4 ]; then set -- -startdate "$5" -enddate "$6"; else set -- -days 2; fi
  openssl ca -batch -notext -config "$pki/$ca.conf" -in "$pki/$name.csr" -out "$pki/$name.crt" \
    -extfile "$pki/$name.ext" "$@" 2>>"$pki/log"
}
# revoke NAME CA; then make_crl CA FILE: the list of all revoked so far, in DER as etcd wants it.
revoke() { openssl ca -batch -config "$pki/$2.conf" -revoke "$pki/$1.crt" 2>>"$pki/log"; }
make_crl() {
  ca_config "$1"
  openssl ca -batch -config "$pki/$1.conf" -gencrl -crldays 2 -out "$2.pem" 2>>"$pki/log"
  openssl crl -in "$2.pem" -outform DER -out "$2.new"
  mv "$2.new" "$2"
}
ca_config() {
  local dir=$pki/$1.d
  [ ! -d "$dir" ] || return 0
  mkdir -p "$dir"
  : >"$dir/index"
  printf '%02x\n' $((RANDOM % 100 + 100)) >"$dir/serial"
  echo 01 >"$dir/crlnumber"
  cat >"$pki/$1.conf" <<END
[ca]
default_ca = it
[it]
database = $dir/index
serial = $dir/serial
crlnumber = $dir/crlnumber
new_certs_dir = $dir
certificate = $pki/$1.crt
private_key = $pki/$1.key
default_md = sha256
default_days = 2
policy = any
unique_subject = no
copy_extensions = none
[any]
commonName = supplied
END
}
