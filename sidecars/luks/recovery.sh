#!/bin/sh
# Get at the data of a LUKS volume where no Python and no Sealwire is: a rescue system, another machine.
# Needs cryptsetup, mount, cp. Opens read-only, so that nothing can be made worse.
#
#   recovery.sh look DEVICE                     what the volume says of itself; needs no key
#   recovery.sh open DEVICE DIRECTORY [KEYFILE] open it read-only and mount it; asks for the passphrase without KEYFILE
#   recovery.sh copy DIRECTORY TARGET           copy everything out, compare, print how many files
#   recovery.sh close DIRECTORY                 unmount and close
#   recovery.sh header DEVICE FILE              put an *unsealed* header backup back (see docs/operations/luks.md)
#
# Exit codes: 0 done, 1 failed (the program's own message is above), 2 wrong usage.
set -eu

NAME=sealwire_recovery

usage() { sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }
fail() { echo "recovery.sh: error: $1" >&2; [ -z "${2:-}" ] || echo "recovery.sh: hint: $2" >&2; exit 1; }
need() { for program; do command -v "$program" > /dev/null || fail "$program is not installed"; done; }
luks() {
    [ -e "$1" ] || fail "$1 does not exist" "see lsblk"
    cryptsetup isLuks "$1" || fail "$1 has no LUKS header" "right device? else restore its header backup"
}

look() {
    luks "$1"
    cryptsetup luksDump "$1"
}

open_volume() {
    luks "$1"
    [ ! -e "/dev/mapper/$NAME" ] || fail "/dev/mapper/$NAME is open already" "recovery.sh close DIRECTORY"
    mkdir -p "$2"
    if [ -n "${3:-}" ]; then
        cryptsetup open --readonly --key-file "$3" "$1" "$NAME" || fail "the key file does not open $1"
    else
        cryptsetup open --readonly "$1" "$NAME" || fail "the passphrase does not open $1"
    fi
    # A file system that was not unmounted has its journal to replay, which a read-only device does not allow.
    type=$(blkid -o value -s TYPE "/dev/mapper/$NAME" || true)
    case $type in xfs) no_replay=,norecovery ;; ext4) no_replay=,noload ;; *) no_replay= ;; esac
    mount -o ro,nodev,nosuid,noexec "/dev/mapper/$NAME" "$2" 2> /dev/null \
        || mount -o "ro,nodev,nosuid,noexec$no_replay" "/dev/mapper/$NAME" "$2" \
        || { cryptsetup close "$NAME"; fail "the file system of $1 cannot be mounted"; }
    echo "$1 is open, read-only, at $2"
}

copy() {
    [ -d "$1" ] || fail "$1 is not a directory"
    mkdir -p "$2"
    [ -z "$(ls -A "$2")" ] || fail "$2 is not empty" "name an empty or new directory"
    cp -a "$1/." "$2/"
    sync
    wanted=$(cd "$1" && find . -path ./lost+found -prune -o -type f -exec sha256sum {} + | sort -k 2)
    copied=$(cd "$2" && find . -path ./lost+found -prune -o -type f -exec sha256sum {} + | sort -k 2)
    [ "$wanted" = "$copied" ] || fail "the copy differs from the volume" "copy again to another disk"
    echo "$(printf '%s\n' "$wanted" | wc -l) files copied and compared"
}

close_volume() {
    ! mountpoint -q "$1" || umount "$1"
    [ ! -e "/dev/mapper/$NAME" ] || cryptsetup close "$NAME"
    echo "closed"
}

header() {
    [ -e "$1" ] || fail "$1 does not exist" "see lsblk"
    cryptsetup isLuks "$2" || fail "$2 is not a LUKS header" "unseal it first: sealwire luks unseal-header"
    # Without --batch-mode: cryptsetup asks before it overwrites.
    cryptsetup luksHeaderRestore "$1" --header-backup-file "$2"
}

[ $# -ge 1 ] || usage
need cryptsetup
command=$1
shift
case $command/$# in
    look/1) look "$@" ;;
    open/2 | open/3) open_volume "$@" ;;
    copy/2) copy "$@" ;;
    close/1) close_volume "$@" ;;
    header/2) header "$@" ;;
    *) usage ;;
esac
