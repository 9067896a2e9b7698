// A chat with go-openai.   cd examples/go && LANYARD_KEY=sk-… go run ./chat "Say hello."
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/sashabaranov/go-openai"
)

func main() {
	log.SetFlags(0)
	question := "Say hello."
	if len(os.Args) > 1 {
		question = os.Args[1]
	}
	answer, err := chat(question)
	var refusal *openai.APIError
	if errors.As(err, &refusal) {
		// The gateway's own words; Code is what to decide by: invalid_api_key, model_not_found, rate_limit_exceeded, …
		log.Fatalf("Lanyard: %d %v: %s", refusal.HTTPStatusCode, refusal.Code, refusal.Message)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer)
}

func chat(question string) (string, error) {
	config := openai.DefaultConfig(cmp.Or(os.Getenv("LANYARD_KEY"), os.Getenv("LITELLM_MASTER_KEY")))
	config.BaseURL = cmp.Or(os.Getenv("LANYARD_URL"), "http://localhost:4000") + "/v1"
	client := openai.NewClientWithConfig(config)

	// An engine may first have to load the model.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()

	model := os.Getenv("LANYARD_MODEL")
	if model == "" { // The first one this key may use.
		list, err := client.ListModels(ctx)
		if err != nil {
			return "", err
		}
		if len(list.Models) == 0 {
			return "", errors.New("this key may use no model")
		}
		model = list.Models[0].ID
	}
	answer, err := client.CreateChatCompletion(ctx, openai.ChatCompletionRequest{
		Model:    model,
		Messages: []openai.ChatCompletionMessage{{Role: openai.ChatMessageRoleUser, Content: question}},
	})
	if err != nil {
		return "", err
	}
	return answer.Choices[0].Message.Content, nil
}
