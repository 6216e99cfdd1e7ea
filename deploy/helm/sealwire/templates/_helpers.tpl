{{- define "sealwire.name" -}}
{{- default (ternary .Release.Name (printf "%s-sealwire" .Release.Name) (contains "sealwire" .Release.Name)) .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "sealwire.selector" -}}
app.kubernetes.io/name: sealwire
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sealwire.labels" -}}
{{ include "sealwire.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "sealwire.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "sealwire.kind" -}}
{{ ternary "StatefulSet" "Deployment" .Values.audit.enabled }}
{{- end -}}

{{- define "sealwire.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: ["ALL"]}
{{- end -}}

{{/* The ports that the proxy listens on, as a JSON list: 27017, those of upstream.ports, or that of each entry of config.members. */}}
{{- define "sealwire.ports" -}}
{{- $ports := list -}}
{{- if .Values.upstream.uri -}}
{{- $first := regexFind "^[0-9]+" .Values.upstream.ports | int -}}
{{- $last := regexFind "[0-9]+$" .Values.upstream.ports | int -}}
{{- if or (lt $last $first) (ge (sub $last $first) 64) (and (le $first 9464) (ge $last 9464)) -}}
{{- fail "upstream.ports is FIRST-LAST, 64 ports at most, 9464 not among them" -}}
{{- end -}}
{{- range untilStep $first (add1 $last | int) 1 -}}
{{- $ports = append $ports . -}}
{{- end -}}
{{- end -}}
{{- range .Values.config.members -}}
{{- $ports = append $ports (regexFind "[0-9]+$" .listen | int) -}}
{{- end -}}
{{- toJson (default (list 27017) $ports) -}}
{{- end -}}

{{/* Whether each server has a port of its own; else empty. */}}
{{- define "sealwire.several" -}}
{{- if or .Values.upstream.uri .Values.config.members }}true{{ end -}}
{{- end -}}

{{/* The file of ports that every pod begins with. Behind one Service a port must be the same server in all of them. */}}
{{- define "sealwire.portsFile" -}}
{{- $several := or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) -}}
{{- if and $several (not .Values.upstream.members) -}}
{{- fail "upstream.members is required with upstream.uri and several pods: the port of each server" -}}
{{- end -}}
{{- $usable := include "sealwire.ports" . | fromJsonArray -}}
{{- $ports := dict -}}
{{- range $member, $port := .Values.upstream.members -}}
{{- if not (has (float64 $port) $usable) -}}
{{- fail (printf "upstream.members: the port of %s is not in upstream.ports" $member) -}}
{{- end -}}
{{- $_ := set $ports $member (int $port) -}}
{{- end -}}
{{- if ne (len (uniq (values $ports))) (len $ports) -}}
{{- fail "upstream.members: two servers have one port" -}}
{{- end -}}
{{- dict "version" 1 "ports" $ports | toJson -}}
{{- end -}}

{{/* sealwire.yaml: what the chart knows, and over it what `config` says. */}}
{{- define "sealwire.config" -}}
{{- $service := printf "%s.%s.svc.cluster.local:%v" (include "sealwire.name" .) .Release.Namespace .Values.service.port -}}
{{- $tls := dict "certificate" "/run/tls/tls.crt" "key" "/run/tls/tls.key" -}}
{{- $listen := dict "address" "0.0.0.0:27017" "advertise" (default $service .Values.advertise) "tls" $tls -}}
{{- $upstream := dict "tls" (dict "mode" "tls") -}}
{{- if .Values.upstream.uri -}}
{{- if or .Values.upstream.address .Values.config.members -}}
{{- fail "upstream.uri stands in place of upstream.address and config.members" -}}
{{- end -}}
{{- $_ := set $upstream "uri" .Values.upstream.uri -}}
{{- $host := regexReplaceAll ":[0-9]+$" (default $service .Values.advertise) "" -}}
{{- $listen = dict "address" "0.0.0.0" "ports" .Values.upstream.ports "ports_file" "/run/ports/ports.json" "advertise" $host "tls" $tls -}}
{{- else if not .Values.config.members -}}
{{- $_ := set $upstream "address" (required "upstream.address or upstream.uri is required" .Values.upstream.address) -}}
{{- else -}}
{{- $listen = dict "tls" $tls -}}
{{- end -}}
{{- with .Values.upstream.caConfigMap -}}
{{- $_ := set $upstream "tls" (dict "ca" "/run/mongo-ca/ca.crt") -}}
{{- end -}}
{{- $config := dict "listen" $listen "upstream" $upstream "policy" "/etc/sealwire/policy.yaml" "keyring" "/run/keys/keyring.json" "kek" (dict "provider" "environment") "admin" (dict "address" "0.0.0.0:9464") "log" (dict "format" "json") "limits" (dict "drain_s" (int .Values.drainSeconds)) -}}
{{- if .Values.audit.enabled -}}
{{- $_ := set $config "audit" (dict "path" "/var/log/sealwire/audit.jsonl" "key" "/run/keys/audit.key") -}}
{{- end -}}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.config)) -}}
{{- end -}}

{{/*
The ports of the servers, as a JSON list: of everything that the configuration and upstream.members name, and
networkPolicy.upstreamPorts. A host of a connection string has 27017 where none stands; what DNS says of mongodb+srv is not known here.
*/}}
{{- define "sealwire.upstreamPorts" -}}
{{- $config := include "sealwire.config" . | fromYaml -}}
{{- $named := compact (list $config.upstream.address) -}}
{{- range $config.members -}}
{{- $named = append $named .upstream -}}
{{- end -}}
{{- range $member, $port := .Values.upstream.members -}}
{{- $named = append $named $member -}}
{{- end -}}
{{- with $config.upstream.uri -}}
{{- if hasPrefix "mongodb://" . -}}
{{- $hosts := regexReplaceAll "[/?].*$" (trimPrefix "mongodb://" .) "" -}}
{{- range splitList "," $hosts -}}
{{- $named = append $named (ternary . (printf "%s:27017" .) (regexMatch ":[0-9]+$" .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $ports := .Values.networkPolicy.upstreamPorts -}}
{{- range $named -}}
{{- $ports = append $ports (regexFind "[0-9]+$" . | int) -}}
{{- end -}}
{{- if not $ports -}}
{{- fail "networkPolicy.upstreamPorts is required: DNS says which ports the servers have" -}}
{{- end -}}
{{- $whole := list -}}
{{- range $ports -}}
{{- $whole = append $whole (int .) -}}
{{- end -}}
{{- $whole | uniq | toJson -}}
{{- end -}}

{{- define "sealwire.policy" -}}
{{- required "policy is required: --set-file policy=policy.yaml" .Values.policy -}}
{{- end -}}

{{- define "sealwire.alerts" -}}
{{- $audit := dict "path" "/var/log/sealwire/audit.jsonl" "key" "/etc/sealwire/audit.key.pub" -}}
{{- $alerts := dict "version" 1 "audit" $audit "state" "/var/lib/sealwire-watch/watch.sqlite" -}}
{{- with .Values.audit.watch.rules }}{{- $_ := set $alerts "rules" . }}{{- end -}}
{{- with .Values.audit.watch.tell }}{{- $_ := set $alerts "tell" . }}{{- end -}}
{{- toYaml $alerts -}}
{{- end -}}
