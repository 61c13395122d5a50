module github.com/flashbacknetwork/flashback-go/examples/oauth2

go 1.26.0

require (
	github.com/flashbacknetwork/flashback-go v0.0.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/oauth2 v0.38.0
)

require (
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

replace github.com/flashbacknetwork/flashback-go => ../..
